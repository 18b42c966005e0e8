"""The study in its storage: made, found again, refused where it is of something else."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.storages import RDBStorage

from search.config import Objectives, Pruner, Sampler, Space
from search.errors import StudyError
from search.study.sampler import SlotSampler

SAMPLERS: Final[dict[Sampler, Callable[[int], BaseSampler]]] = {
    "random": SlotSampler,
    # Unseeded, because a seed would make all workers propose the same.
    "tpe": lambda _: TPESampler(constant_liar=True),
    # Small generations, because a search has some hundred trials. Unseeded likewise.
    "nsga2": lambda _: NSGAIISampler(population_size=20),
}
METRICS: Final = ("validation accuracy", "FLOPs an image")
"""Names of the objectives, in their order, that Optuna's dashboard writes at its axes."""

OBJECTIVES: Final[dict[Objectives, tuple[Literal["maximize", "minimize"], ...]]] = {
    "accuracy": ("maximize",),
    "accuracy,flops": ("maximize", "minimize"),
}
PRUNERS: Final[dict[Pruner, Callable[[int], BasePruner]]] = {
    "none": lambda _: NopPruner(),
    "halving": lambda _: SuccessiveHalvingPruner(),
    "hyperband": lambda epochs: HyperbandPruner(max_resource=epochs),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all trials of a study share; a study refuses to go on under another one.

    Attributes:
        space: name in `search.study.space.SPACES`.
        space_version: its number in `search.study.space.VERSIONS`.
        epochs: of each trial.
        sampler: name in `SAMPLERS`.
        pruner: name in `PRUNERS`.
        seed: with the slot it fixes a random trial's parameters, weights and order.
        data_digest: of the train and the validation split.
        max_parameters: larger networks are pruned untrained; 0 for no bound.
        max_flops: of a forward pass on one image; costlier networks are pruned; 0 for no bound.
        objectives: name in `OBJECTIVES`; accuracy always comes first.
    """

    space: Space = "paper"
    space_version: int = 1
    epochs: int = 20
    sampler: Sampler = "random"
    pruner: Pruner = "none"
    seed: int = 0
    data_digest: str
    max_parameters: int = 0
    max_flops: int = 0
    objectives: Objectives = "accuracy"


def open_study(storage: RDBStorage, name: str, protocol: Protocol) -> optuna.Study:
    """Make the study, or find it and compare its protocol.

    Raises:
        StudyError: the study was begun under another protocol; the message says what differs.
            Or it is to prune trials with several objectives.
    """
    directions = OBJECTIVES[protocol.objectives]
    if len(directions) > 1 and protocol.pruner != "none":
        words = "compares trials by one objective and cannot stop those of several"
        raise StudyError(f"pruner {protocol.pruner} {words}; say --pruner none")
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        directions=directions,
        sampler=SAMPLERS[protocol.sampler](protocol.seed),
        pruner=PRUNERS[protocol.pruner](protocol.epochs),
        load_if_exists=True,
    )
    wanted, found = asdict(protocol), study.user_attrs.get("protocol")
    if found is None:
        if study.get_trials(deepcopy=False):
            raise StudyError(f"study {name} was not made by this program")
        study.set_user_attr("protocol", wanted)
    # Older studies lack these fields.
    elif (found := {"objectives": "accuracy", "space_version": 1} | found) != wanted:
        differences = _tell_difference(found, wanted)
        words = "choose another --study, or the options that it was begun with"
        raise StudyError(f"study {name} was begun otherwise: {differences}; {words}")
    names = list(METRICS[: len(directions)])
    if study.metric_names != names:
        study.set_metric_names(names)
    return study


def find_study(storage: RDBStorage, name: str) -> tuple[optuna.Study, Protocol]:
    """An existing study and its protocol.

    Raises:
        StudyError: there is none of this name, or this program did not make it.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage, sampler=SlotSampler(0))
    except KeyError:
        known = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise StudyError(f"no study {name} in this storage; it holds: {known}") from None
    try:
        return study, Protocol(**study.user_attrs["protocol"])
    except (KeyError, TypeError):
        raise StudyError(f"study {name} was not made by this program") from None


def _tell_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    words = [
        f"{key} is {found.get(key)!r} there, {wanted[key]!r} here"
        for key in differing
        if key not in ("data_digest", "space_version")
    ]
    if {"space", "space_version"} & set(differing) == {"space_version"}:
        words.append(f"the {wanted['space']} space has changed since then")
    if "data_digest" in differing:
        words.append(_tell_data(found.get("data_digest", ""), wanted["data_digest"]))
    return "; ".join(words)


def _tell_data(found: str, wanted: str) -> str:
    splits = zip(("train", "validation"), found.split("/"), wanted.split("/"), strict=False)
    words = [
        f"the {split} split has digest {there[:12]} there, {here[:12]} here"
        for split, there, here in splits
        if there != here
    ]
    return "; ".join(words)
