"""How a network is trained."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from search.errors import OptionsError
from service.network import NetworkConfig, PlainConfig
from service.preprocess import IMAGE_SIZE

Optimizer = Literal["adam", "adamw", "muon", "sgd"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; recorded in the model card.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step; the last, smaller batch of an epoch is left out.
        optimizer: `adam` and `adamw` (Kingma & Ba, 2015; Loshchilov & Hutter, 2019),
            `muon` (Jordan, 2024) for the weight matrices with AdamW for the rest, or `sgd`
            with Nesterov's momentum of 0.9.
        learning_rate: peak rate; with `muon` the matrices' rate, vectors get a tenth.
        weight_decay: on kernels and matrices only; decoupled with `adamw` and `muon`, an L2
            penalty with `sgd`; `adam` takes none.
        schedule: constant, or cosine to zero after the warm-up.
        warmup_epochs: epochs of linear rise from zero.
        label_smoothing: share of the target spread over all classes.
        ema_decay: decay a step of the averaged weights that are evaluated; 0 turns it off.
        mirror: mirror half of the images.
        rotation: largest turn, degrees either way.
        zoom: largest relative change of size either way.
        shift: largest shift of each axis, share of the side, either way.
        blur: largest standard deviation of a Gaussian blur, in pixels of the size trained at, at
            most 2; half of the images get one, drawn uniformly up to it.
        noise: largest standard deviation of Gaussian noise, in those of the image; half of the
            images get some, drawn uniformly up to it.
        exposure: grey levels of half of the images are multiplied by a power of two, up to this
            exponent either way; equalising undoes most of it but what is lost beyond white.
        erase: probability that a rectangle is blanked (Zhong et al., 2020).
        mixup: both parameters of the beta distribution that a batch's share is drawn from
            (Zhang et al., 2018); 0 turns it off.
        cutmix: the same for a pasted rectangle (Yun et al., 2019).
        balance: draw images with replacement by (size of their class) ** -balance; at 1 all
            classes are equally frequent, at 0 each image comes once an epoch.
        sizes: (share of the epochs, side in pixels): images are sampled at this side until
            that share has passed; smaller early images save time (progressive resizing).
        drop_duplicates: train once on images that stand in the split several times.
        distill: share of the target that comes from the teachers' probabilities (Hinton et
            al., 2015); needs teachers.
        consistent: the teachers answer for each augmented face as the network sees it (Beyer et
            al., 2022); else once, for the plain face and its mirror image, which costs less.
    """

    epochs: int
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    mirror: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    exposure: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    balance: float = 0.0
    sizes: tuple[tuple[float, int], ...] = ((1.0, IMAGE_SIZE),)
    drop_duplicates: bool = False
    distill: float = 0.0
    consistent: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError("epochs must be at least 1 and batch_size at least 2")
        for name in ("label_smoothing", "ema_decay", "zoom", "erase", "distill"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")
        for name in (
            *("learning_rate", "weight_decay", "warmup_epochs"),
            *("rotation", "shift", "noise", "exposure", "mixup", "cutmix", "balance"),
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.optimizer == "adam" and self.weight_decay:
            raise ValueError("adam takes no weight_decay; adamw does")
        if not 0 <= self.blur <= 2:
            raise ValueError("blur must be from 0 to 2")
        if self.sizes[-1][0] != 1.0 or list(self.sizes) != sorted(self.sizes):
            raise ValueError("sizes must have rising shares that end at 1.0")
        if not all(0 < share <= 1 and 8 <= side <= 192 for share, side in self.sizes):
            raise ValueError("sizes must have shares from 0 to 1 and sides from 8 to 192 pixels")

    def size_at(self, epoch: int) -> int:
        """Side in pixels of the images of an epoch, counted from 0."""
        share = epoch / self.epochs
        return next(size for until, size in self.sizes if share < until)


def set_fields(recipe: Recipe, network: NetworkConfig, changes: Sequence[str]) -> Recipe:
    """The recipe as `adapt` makes it for the network, with some of its fields changed.

    Args:
        recipe: the base.
        network: to be trained by it.
        changes: `name=value` each, such as `erase=0`, `optimizer=sgd`, `mirror=false` or
            `sizes=0.5:32,1:48`; of all fields but `epochs`, which has an option of its own.

    Raises:
        OptionsError: no such field, a value that it or the network does not take, or another
            optimizer without a rate, or without a decay of its kind.
    """
    kinds = get_type_hints(Recipe)
    del kinds["epochs"]
    values = {}
    for text in changes:
        name, sign, value = text.partition("=")
        if name not in kinds or not sign:
            raise OptionsError(f"--set {text}: not name=value with one of {', '.join(kinds)}")
        try:
            values[name] = _read_value(kinds[name], value)
        except ValueError as error:
            raise OptionsError(f"--set {text}: {error}") from None
    optimizer = values.get("optimizer", recipe.optimizer)
    if optimizer != recipe.optimizer and "learning_rate" not in values:
        raise OptionsError(f"--set optimizer={optimizer}: needs --set learning_rate=..., too")
    if (optimizer == "sgd") != (recipe.optimizer == "sgd") and "weight_decay" not in values:
        # A penalty is worth far more than the same number decoupled.
        raise OptionsError(f"--set optimizer={optimizer}: needs --set weight_decay=..., too")
    try:
        changed = replace(adapt(recipe, network), **values)
    except ValueError as error:
        raise OptionsError(f"--set: {error}") from None
    if changed != adapt(changed, network):
        raise OptionsError(f"--set sizes: this network takes faces of {IMAGE_SIZE} pixels only")
    return changed


def _read_sizes(text: str) -> tuple[tuple[float, int], ...]:
    pairs = [pair.partition(":") for pair in text.split(",")]
    try:
        return tuple((float(share), int(side)) for share, _, side in pairs)
    except ValueError:
        raise ValueError("expected share:side, such as 0.5:32,1:48") from None


def _read_value(kind: Any, text: str) -> Any:
    if get_origin(kind) is tuple:
        return _read_sizes(text)
    choices = {"true": True, "false": False} if kind is bool else {c: c for c in get_args(kind)}
    if not choices:
        value = kind(text)
        if not math.isfinite(value):
            raise ValueError("expected a finite number")
        return value
    if text not in choices:
        raise ValueError(f"expected {', '.join(choices)}")
    return choices[text]


def adapt(recipe: Recipe, network: NetworkConfig) -> Recipe:
    """The recipe, without smaller early images for a network that takes one size only."""
    if isinstance(network, PlainConfig):
        return replace(recipe, sizes=((1.0, IMAGE_SIZE),))
    return recipe


def recipe_from_dict(fields: Mapping[str, Any]) -> Recipe:
    """Inverse of `dataclasses.asdict`, also after JSON; fields of other versions are left out."""
    known = {field.name for field in dataclasses.fields(Recipe)} & fields.keys()
    values = {name: fields[name] for name in known}
    if "sizes" in values:
        values["sizes"] = tuple((share, size) for share, size in values["sizes"])
    return Recipe(**values)
