"""A whole search: workers over the slots of a study, then the confirmation of its best."""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Final

import optuna
import torch
from optuna.trial import FrozenTrial

from search.confirmation import (
    best_trials,
    confirmation_name,
    confirmation_templates,
    rank_confirmed,
)
from search.data import Faces, load_split
from search.errors import StudyError
from search.progress import StudyProgress
from search.slots import close_surplus, count_done, open_slots
from search.study import Protocol, connect, open_study
from search.trial import train_trial
from search.worker import work
from service.device import pick_device

MAX_FRUITLESS_DEATHS: Final = 8
"""Workers that may die one after the other without a trial done before the search stops."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What `run` needs; workers get it whole.

    Attributes:
        data: FER2013 in any form `search.data.load_split` reads.
        storage: database URL or path for SQLite.
        name: of the study.
        protocol: what all trials share.
        trials: the study's total, finished ones included.
        workers: processes on this machine; 1 stays in this process.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; with plain CUDA the workers share all GPUs.
        heartbeat: seconds between signs of life of a running trial.
        confirm: how many of the best are trained again; 0 for none.
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
    return f"{load_split(data, 'train').digest()}/{load_split(data, 'validation').digest()}"


def run_search(search: Search) -> None:
    """Fill the study, then confirm its best; the same call again resumes.

    Raises:
        StudyError: the storage or study does not fit, or workers keep dying.
        DataError: a split cannot be read.
    """
    # Its info lines tell what the progress tells, once for each trial and worker.
    optuna.logging.set_verbosity(logging.ERROR)
    signal.signal(signal.SIGTERM, _interrupt)
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, search.name, search.protocol)
    fill(search, Phase(name=search.name, protocol=search.protocol, wanted=_first(search.trials)))
    best = best_trials(study, search.confirm)
    if not best or not search.confirm_seeds:
        return
    templates = confirmation_templates(best, search.confirm_seeds, search.protocol.seed)
    protocol = replace(search.protocol, pruner="none")
    name = confirmation_name(search.name)
    phase = Phase(name=name, protocol=protocol, wanted=tuple(templates), templates=templates)
    fill(search, phase)
    for confirmed in rank_confirmed(study, open_study(storage, name, protocol)):
        print(
            f"trial {confirmed.trial}: searched {confirmed.searched:.2%}, confirmed "
            f"{confirmed.mean:.2%} ± {confirmed.standard_error:.2%} ({len(confirmed.values)} seeds)"
        )


def fill(search: Search, phase: Phase) -> None:
    """Have the phase's slots filled by this process or by worker processes."""
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, phase.name, phase.protocol)
    with StudyProgress(study, phase.wanted, search.workers):
        if search.workers == 1:
            fill_here(search, phase, pick_device(search.device))
            return
        # Before the workers start, or each of them would open every slot.
        open_slots(study, phase.wanted, phase.templates)
        workers = [start_worker(search, phase, index) for index in range(search.workers)]
        try:
            supervise(search, phase, workers, study)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            close_surplus(study, storage, phase.wanted)


def supervise(
    search: Search, phase: Phase, workers: list[BaseProcess], study: optuna.Study
) -> None:
    """Wait for the workers, putting a new one in the place of one that died."""
    done, deaths = 0, 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.5)
        for index, worker in enumerate(workers):
            if worker.exitcode:
                deaths += 1
                workers[index] = start_worker(search, phase, index)
        if deaths >= MAX_FRUITLESS_DEATHS:
            before, done = done, count_done(study, phase.wanted)
            deaths = 0 if done > before else deaths
        if deaths >= MAX_FRUITLESS_DEATHS:
            raise StudyError(f"{deaths} workers died without a trial done; see their messages")


def start_worker(search: Search, phase: Phase, index: int) -> BaseProcess:
    """Start one worker process; spawned, because CUDA does not survive a fork."""
    worker = get_context("spawn").Process(target=run_worker, args=(search, phase, index))
    worker.start()
    return worker


def run_worker(search: Search, phase: Phase, index: int) -> None:
    """Body of a worker process: its device, its share of the cores, then work."""
    # Ctrl-C reaches the whole group; only the parent answers to it and tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_follow_parent, daemon=True).start()
    optuna.logging.set_verbosity(logging.ERROR)
    device = pick_device(search.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // search.workers))
    try:
        fill_here(search, phase, device)
    except KeyboardInterrupt:
        return


def fill_here(search: Search, phase: Phase, device: torch.device) -> None:
    """Work in this process until the phase is done."""
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, phase.name, phase.protocol)
    train, validation = load_splits(search.data, phase.protocol)
    objective = partial(
        train_trial, protocol=phase.protocol, train=train, validation=validation, device=device
    )
    work(study, storage, phase.wanted, objective, phase.templates)


def load_splits(data: Path, protocol: Protocol) -> tuple[Faces, Faces]:
    """Train and validation split.

    Raises:
        StudyError: they are not the study's.
    """
    train, validation = load_split(data, "train"), load_split(data, "validation")
    if f"{train.digest()}/{validation.digest()}" != protocol.data_digest:
        raise StudyError(f"{data} changed since the study was begun")
    return train, validation


def _first(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
