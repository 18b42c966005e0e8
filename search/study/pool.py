"""Worker processes that fill a phase of a search, watched and replaced where they die."""

import logging
import os
import signal
import sys
import threading
import time
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Final

import optuna
import torch

from search.data import notice
from search.errors import DataError, StoppedError, StudyError
from search.stop import raise_again, raise_on_signals, tell
from search.study.outcome import count_trained
from search.study.phase import Phase, Search, fill_here
from search.study.slots import AHEAD, count_done, open_slots
from search.study.storage import connect, lost_storage_told
from search.study.study import find_study, open_study
from service.device import pick_device

MAX_FRUITLESS_DEATHS: Final = 8
"""Workers that may die one after the other without a trial trained before the search stops."""


def fill_by_workers(search: Search, phase: Phase, study: optuna.Study) -> None:
    """Have a phase filled by `search.workers` processes; they end with this call.

    Raises:
        StudyError: as `supervise`, or they left before all was done.
    """
    # Before the workers start, or each of them would open the slots.
    open_ahead(search, phase, study)
    faults: SimpleQueue[str] = get_context("spawn").SimpleQueue()
    try:
        workers = [start_worker(search, phase, index, faults) for index in range(search.workers)]
        supervise(search, phase, workers, faults, study)
        done = count_done(study, phase.wanted)
        if done < len(phase.wanted):
            raise StudyError(f"the workers left with {done} of {len(phase.wanted)} trials done")
    except KeyboardInterrupt:
        tell("stops after each worker's step")
        raise
    finally:
        # A signal may have come before the last one that was started had a name here.
        workers = active_children()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


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
    trained, deaths = count_trained(study, phase.wanted), 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.5)
        raise_again()
        raise_fault(faults)
        open_ahead(search, phase, study)
        for index, worker in enumerate(workers):
            if worker.exitcode:
                tell(f"a worker ended with status {worker.exitcode}; another takes its place")
                deaths += 1
                workers[index] = start_worker(search, phase, index, faults)
        if deaths >= MAX_FRUITLESS_DEATHS:
            before, trained = trained, count_trained(study, phase.wanted)
            deaths = 0 if trained > before else deaths
        if deaths >= MAX_FRUITLESS_DEATHS:
            raise StudyError(f"{deaths} workers died without a trial trained; see their messages")
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
    # Blocked there, too, until the worker ignores it: Ctrl-C would end its imports in a traceback.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return worker


def run_worker(search: Search, phase: Phase, index: int, faults: "SimpleQueue[str]") -> None:
    """Body of a worker process: its device, its share of the cores, then work.

    What another worker in its place could not mend is put into `faults`.
    """
    raise_on_signals()
    # These reach the whole group; only the parent answers to them and tells its workers.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    optuna.logging.set_verbosity(logging.ERROR)
    # The parent has told what is amiss with the data.
    notice.LOG.setLevel(logging.ERROR)
    device = pick_device(search.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(share_threads(search.workers))
    try:
        with lost_storage_told():
            storage = connect(search.storage, search.heartbeat)
            # A database that was removed meanwhile must not be begun anew beside the parent's.
            find_study(storage, phase.name)
            study = open_study(storage, phase.name, phase.protocol)
            fill_here(search, phase, storage, study, device)
    except (StudyError, DataError) as error:
        faults.put(str(error))
    except (KeyboardInterrupt, StoppedError):
        # Unless the parent wants it, another worker is to take its place.
        sys.exit(128 + signal.SIGTERM)
    finally:
        # It leaves anyway; raised within the interpreter's own end it would print a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def share_threads(workers: int) -> int:
    """PyTorch's threads of each worker on the CPU."""
    threads = torch.get_num_threads()
    # Who sets it means each process.
    return threads if "OMP_NUM_THREADS" in os.environ else max(1, threads // workers)


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
