"""What a search is to fill, and how one process does it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import optuna
import torch
from optuna import Trial
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from search.data.faces import Faces
from search.data.splits import load_split
from search.errors import StudyError
from search.study.study import Protocol
from search.study.trial import train_trial
from search.study.trial_checkpoint import find_folder, forget, trial_checkpoint
from search.study.worker import work


@dataclass(frozen=True, kw_only=True)
class Search:
    """What `run` needs; workers get it whole.

    Attributes:
        data: FER2013 in any form `search.data.splits.load_split` reads.
        storage: database URL or path for SQLite.
        name: of the study.
        protocol: what all trials share.
        trials: the study's total, finished ones included.
        workers: processes on this machine; 1 stays in this process.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; with plain CUDA the workers share all GPUs.
        heartbeat: seconds between signs of life of a running trial.
        confirm: how many of the best, or of the Pareto front, are trained again; 0 for none.
        confirm_seeds: seeds of each of them.
    """

    data: Path
    storage: str
    name: str
    protocol: Protocol
    trials: int
    workers: int = 1
    device: str = "auto"
    heartbeat: int = 10
    confirm: int = 6
    confirm_seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The slots of one study that are to be filled."""

    name: str
    protocol: Protocol
    wanted: tuple[int, ...]
    templates: Mapping[int, FrozenTrial] | None = None


def digest_data(data: Path) -> str:
    """Digests of both splits in one string; a study keeps to the data it was begun with."""
    train, validation = load_splits(data)
    return f"{train.digest()}/{validation.digest()}"


@lru_cache(maxsize=1)
def load_splits(data: Path) -> tuple[Faces, Faces]:
    """Train and validation split, read once a process, so that a fault is told once."""
    return load_split(data, "train"), load_split(data, "validation")


def fill_here(
    search: Search, phase: Phase, storage: RDBStorage, study: optuna.Study, device: torch.device
) -> None:
    """Work in this process until the phase is done."""
    if digest_data(search.data) != phase.protocol.data_digest:
        raise StudyError(f"{search.data} changed since the study was begun")
    splits, folder = load_splits(search.data), find_folder(search.storage, phase.name)

    def objective(trial: Trial) -> tuple[float, ...]:
        with trial_checkpoint(folder, trial.user_attrs["slot"]) as path:
            return train_trial(trial, phase.protocol, *splits, device, checkpoint=path)

    def settle(slot: int) -> None:
        if folder:
            forget(folder, slot)

    work(study, storage, phase.wanted, objective, phase.templates, settled=settle)
