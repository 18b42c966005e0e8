"""The study in its storage: made, found again, refused where it is of something else."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from search.errors import StudyError
from search.sampler import SlotSampler

# Heartbeats are experimental in Optuna, and each process of a search would say so.
warnings.simplefilter("ignore", ExperimentalWarning)

STORAGE_ERRORS: Final = (StorageInternalError, SQLAlchemyError)
"""What a storage raises that is gone, full or locked for too long."""

SAMPLERS: Final[dict[str, Callable[[int], BaseSampler]]] = {
    "random": SlotSampler,
    # Unseeded, because a seed would make all workers propose the same.
    "tpe": lambda _: TPESampler(constant_liar=True),
    # Small generations, because a search has some hundred trials. Unseeded likewise.
    "nsga2": lambda _: NSGAIISampler(population_size=20),
}
OBJECTIVES: Final[dict[str, tuple[Literal["maximize", "minimize"], ...]]] = {
    "accuracy": ("maximize",),
    "accuracy,flops": ("maximize", "minimize"),
}
PRUNERS: Final[dict[str, Callable[[int], BasePruner]]] = {
    "none": lambda _: NopPruner(),
    "halving": lambda _: SuccessiveHalvingPruner(),
    "hyperband": lambda epochs: HyperbandPruner(max_resource=epochs),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all trials of a study share; a study refuses to go on under another one.

    Attributes:
        space: name in `search.space.SPACES`.
        epochs: of each trial.
        sampler: name in `SAMPLERS`.
        pruner: name in `PRUNERS`.
        seed: with the slot it fixes a random trial's parameters, weights and order.
        data_digest: of the train and the validation split.
        max_parameters: larger networks are pruned untrained; 0 for no bound.
        max_flops: of a forward pass on one image; costlier networks are pruned; 0 for no bound.
        objectives: name in `OBJECTIVES`; accuracy always comes first.
    """

    space: str = "paper"
    epochs: int = 20
    sampler: str = "random"
    pruner: str = "none"
    seed: int = 0
    data_digest: str
    max_parameters: int = 0
    max_flops: int = 0
    objectives: str = "accuracy"


def connect(storage: str, heartbeat: int = 10) -> RDBStorage:
    """Open a storage.

    Args:
        storage: a database URL, or a path for SQLite (its folder is made).
        heartbeat: seconds between signs of life of a running trial; after three times that
            without one it counts as dead.

    Raises:
        StudyError: it cannot be reached.
    """
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{storage}"
    if storage.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 60}
    try:
        return RDBStorage(
            storage,
            engine_kwargs=engine,
            heartbeat_interval=heartbeat,
            grace_period=3 * heartbeat,
        )
    except (*STORAGE_ERRORS, RuntimeError) as error:
        raise StudyError(f"storage cannot be reached: {_first_line(error)}") from None
    except ImportError as error:
        hint = "for PostgreSQL write postgresql+psycopg2:// and install the extra postgres"
        raise StudyError(f"the storage's driver is not installed ({error}); {hint}") from None


@contextmanager
def lost_storage_told() -> Iterator[None]:
    """Within, a storage that fails ends the command with one line.

    Raises:
        StudyError: it failed; the message says how.
    """
    try:
        yield
    except STORAGE_ERRORS as error:
        words = "finished trials are kept in it, and the same command goes on"
        raise StudyError(f"the storage was lost: {_first_line(error)}; {words}") from None


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
    # Studies from before there were several have no such field.
    elif {"objectives": "accuracy"} | found != wanted:
        raise StudyError(f"study {name} was begun otherwise: {_tell_difference(found, wanted)}")
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
        if key != "data_digest"
    ]
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


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().split("\n")[0]
