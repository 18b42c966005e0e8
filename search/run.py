"""A whole search: workers over the slots of a study, then the confirmation of its best."""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Final

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from search.confirmation import (
    best_trials,
    confirmation_name,
    confirmation_templates,
    pick_for_confirmation,
    rank_confirmed,
    tell_confirmed,
)
from search.data import Faces, load_split
from search.errors import DataError, StudyError
from search.outcome import tell_none_complete
from search.progress import StudyProgress
from search.slots import AHEAD, close_surplus, count_done, open_slots
from search.stop import raise_again, raise_on_signals
from search.storage import connect, lost_storage_told
from search.study import Protocol, find_study, open_study
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


@lost_storage_told()
def run_search(search: Search) -> None:
    """Fill the study, then confirm its best; the same call again resumes.

    Raises:
        StudyError: the storage or study does not fit, the storage is lost, workers keep dying, or
            no trial is complete in the end.
        DataError: a split cannot be read.
        DeviceError: there is no such device.
    """
    # Its info lines tell what the progress tells, once for each trial and worker.
    optuna.logging.set_verbosity(logging.ERROR)
    raise_on_signals()
    # Before there is a study, which would keep the options of a command that cannot work.
    pick_device(search.device)
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, search.name, search.protocol)
    fill(search, Phase(name=search.name, protocol=search.protocol, wanted=_first(search.trials)))
    if not best_trials(study, 1):
        raise StudyError(tell_none_complete(study))
    best = pick_for_confirmation(study, search.confirm)
    if not best or not search.confirm_seeds:
        return
    templates = confirmation_templates(best, search.confirm_seeds, search.protocol.seed)
    protocol = replace(search.protocol, pruner="none")
    name = confirmation_name(search.name)
    phase = Phase(name=name, protocol=protocol, wanted=tuple(templates), templates=templates)
    fill(search, phase)
    for confirmed in rank_confirmed(study, open_study(storage, name, protocol)):
        print(tell_confirmed(confirmed))


def fill(search: Search, phase: Phase) -> None:
    """Have the phase's slots filled by this process or by worker processes."""
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, phase.name, phase.protocol)
    with StudyProgress(study, phase.wanted, search.workers, phase.protocol.epochs):
        if search.workers == 1:
            fill_here(search, phase, storage, study, pick_device(search.device))
            return
        # Before the workers start, or each of them would open the slots.
        open_ahead(search, phase, study)
        faults: SimpleQueue[str] = get_context("spawn").SimpleQueue()
        workers = [start_worker(search, phase, index, faults) for index in range(search.workers)]
        try:
            supervise(search, phase, workers, faults, study)
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
            close_surplus(study, storage, phase.wanted)


def open_ahead(search: Search, phase: Phase, study: optuna.Study) -> None:
    """Let more slots wait than the workers here can take until the next call."""
    open_slots(study, phase.wanted, phase.templates, ahead=max(AHEAD, 2 * search.workers))


def supervise(
    search: Search,
    phase: Phase,
    workers: list[BaseProcess],
    faults: "SimpleQueue[str]",
    study: optuna.Study,
) -> None:
    """Open slots for the workers and wait for them; a new one takes the place of one that died.

    Raises:
        StudyError: a worker could not go on for a reason that it told, or they keep dying.
    """
    done, deaths = 0, 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.5)
        raise_again()
        raise_fault(faults)
        open_ahead(search, phase, study)
        for index, worker in enumerate(workers):
            if worker.exitcode:
                deaths += 1
                workers[index] = start_worker(search, phase, index, faults)
        if deaths >= MAX_FRUITLESS_DEATHS:
            before, done = done, count_done(study, phase.wanted)
            deaths = 0 if done > before else deaths
        if deaths >= MAX_FRUITLESS_DEATHS:
            raise StudyError(f"{deaths} workers died without a trial done; see their messages")
    raise_fault(faults)


def raise_fault(faults: "SimpleQueue[str]") -> None:
    """Raise what a worker told as StudyError, if one did."""
    if not faults.empty():
        raise StudyError(faults.get())


def start_worker(
    search: Search, phase: Phase, index: int, faults: "SimpleQueue[str]"
) -> BaseProcess:
    """Start one worker process; spawned, because CUDA does not survive a fork."""
    worker = get_context("spawn").Process(target=run_worker, args=(search, phase, index, faults))
    worker.start()
    return worker


def run_worker(search: Search, phase: Phase, index: int, faults: "SimpleQueue[str]") -> None:
    """Body of a worker process: its device, its share of the cores, then work.

    What another worker in its place could not mend is put into `faults`.
    """
    raise_on_signals()
    # Ctrl-C reaches the whole group; only the parent answers to it and tells its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    optuna.logging.set_verbosity(logging.ERROR)
    # The parent has told what is amiss with the data.
    logging.getLogger(load_split.__module__).setLevel(logging.ERROR)
    device = pick_device(search.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // search.workers))
    try:
        with lost_storage_told():
            storage = connect(search.storage, search.heartbeat)
            # A database that was removed meanwhile must not be begun anew beside the parent's.
            find_study(storage, phase.name)
            study = open_study(storage, phase.name, phase.protocol)
            fill_here(search, phase, storage, study, device)
    except (StudyError, DataError) as error:
        faults.put(str(error))
    except KeyboardInterrupt:
        return
    finally:
        # It leaves anyway; raised within the interpreter's own end it would print a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fill_here(
    search: Search, phase: Phase, storage: RDBStorage, study: optuna.Study, device: torch.device
) -> None:
    """Work in this process until the phase is done."""
    if digest_data(search.data) != phase.protocol.data_digest:
        raise StudyError(f"{search.data} changed since the study was begun")
    train, validation = load_splits(search.data)
    objective = partial(
        train_trial, protocol=phase.protocol, train=train, validation=validation, device=device
    )
    work(study, storage, phase.wanted, objective, phase.templates)


def _first(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
