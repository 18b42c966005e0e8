"""The networks, recipes and searches that have a name."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from search.training.recipe import Recipe
from service.network import NetworkConfig, PlainConfig, ResidualConfig
from service.preprocess import IMAGE_SIZE

DEFAULT_STORAGE: Final = "runs/search.db"
"""Path of the studies' database."""

NETWORKS: Final[dict[str, NetworkConfig]] = {
    # The kernel list is inferred: it gives the printed 5,173,959 parameters, as 19 others do.
    "paper": PlainConfig(channels=(256, 512, 384, 192, 384)),
    "compact": ResidualConfig(
        stem_channels=32,
        channels=(40, 80, 144),
        depths=(1, 2, 2),
        drop_path=0.1,
        head_dropout=0.3,
        soften=0.1,
    ),
    # Full resolution and fewer parameters than the paper's; made for a GPU.
    "accurate": ResidualConfig(
        stem_channels=32,
        stem_stride=1,
        channels=(64, 128, 256),
        depths=(2, 3, 3),
        drop_path=0.2,
        head_dropout=0.3,
        soften=0.1,
    ),
}


MODERN: Final = Recipe(
    epochs=120,
    optimizer="muon",
    learning_rate=0.03,
    weight_decay=0.05,
    schedule="cosine",
    warmup_epochs=2,
    label_smoothing=0.1,
    ema_decay=0.998,
    mirror=True,
    rotation=15,
    zoom=0.2,
    shift=0.12,
    erase=0.4,
    sizes=((0.25, 32), (0.55, 40), (1.0, 48)),
    drop_duplicates=True,
)

SOFTEN: Final = replace(
    MODERN,
    epochs=60,
    learning_rate=0.015,
    warmup_epochs=1,
    sizes=((1.0, IMAGE_SIZE),),
    blur=0.8,
    distill=0.6,
)

RECIPES: Final[dict[str, Recipe]] = {
    "paper": Recipe(
        epochs=750,
        optimizer="adam",
        mirror=True,
        rotation=10,
        zoom=0.1,
        shift=0.1,
    ),
    "modern": MODERN,
    # `retrain --teacher A` (several times for the mean of several).
    "distill": replace(MODERN, distill=0.3),
    # On a GPU: several of these teach the one that is kept.
    "teacher": replace(MODERN, epochs=60, blur=0.8),
    # `retrain --teacher A --teacher B`.
    "student": replace(MODERN, epochs=100, blur=0.8, distill=0.5, consistent=True),
    # For `retrain --start-from A --teacher A`: the same answers for soft faces, too.
    "soften": SOFTEN,
    # The same for noise and lost highlights, shortly and gently; for `blend` afterwards.
    "robust": replace(SOFTEN, epochs=16, learning_rate=0.005, zoom=0.25, noise=0.4, exposure=1.0),
}

TAUGHT: Final = tuple(name for name, recipe in RECIPES.items() if recipe.distill)
"""The recipes that need teachers."""


Space = Literal["paper", "residual"]
Sampler = Literal["random", "tpe", "nsga2"]
Pruner = Literal["none", "halving", "hyperband"]
Objectives = Literal["accuracy", "accuracy,flops"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A search by name; each field is the default of the option of that name."""

    space: Space
    sampler: Sampler
    pruner: Pruner
    trials: int
    epochs: int
    objectives: Objectives = "accuracy"


PRESETS: Final[dict[str, Preset]] = {
    # Vulpe-Grigorași & Grigore, 2021, section III.
    "paper": Preset(space="paper", sampler="random", pruner="none", trials=500, epochs=20),
    "residual": Preset(space="residual", sampler="tpe", pruner="hyperband", trials=200, epochs=27),
    # What accuracy costs, in place of the best whatever it costs.
    "front": Preset(
        space="residual",
        sampler="nsga2",
        pruner="none",
        trials=200,
        epochs=9,
        objectives="accuracy,flops",
    ),
}
