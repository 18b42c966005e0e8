"""A whole search: the slots of a study, then the confirmation of its best."""

import logging
from dataclasses import replace

import optuna
import torch
from optuna import Study
from optuna.storages import RDBStorage

from search.errors import StudyError
from search.study.confirmation import (
    best_trials,
    check_origin,
    confirmation_name,
    confirmation_templates,
    pick_for_confirmation,
    rank_confirmed,
    tell_confirmed,
)
from search.study.outcome import tell_none_complete
from search.study.phase import Phase, Search, fill_here
from search.study.pool import fill_by_workers, share_threads
from search.study.slots import close_surplus
from search.study.storage import connect, lost_storage_told
from search.study.study import open_study
from search.study.study_progress import StudyProgress
from search.study.trial_checkpoint import discard, find_folder
from search.training.machine import name_machine
from service.device import pick_device


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
    # Before there is a study, which would keep the options of a command that cannot work.
    print(tell_workers(search.workers, pick_device(search.device)), flush=True)
    storage = connect(search.storage, search.heartbeat)
    study = open_study(storage, search.name, search.protocol)
    wanted = tuple(range(search.trials))
    fill(search, Phase(name=search.name, protocol=search.protocol, wanted=wanted), storage, study)
    if not best_trials(study, 1):
        raise StudyError(tell_none_complete(study))
    best = pick_for_confirmation(study, search.confirm)
    if not best or not search.confirm_seeds:
        return
    templates = confirmation_templates(best, search.confirm_seeds, search.protocol.seed)
    protocol = replace(search.protocol, pruner="none")
    name = confirmation_name(search.name)
    phase = Phase(name=name, protocol=protocol, wanted=tuple(templates), templates=templates)
    confirmation = open_study(storage, name, protocol)
    check_origin(study, confirmation)
    fill(search, phase, storage, confirmation)
    for confirmed in rank_confirmed(study, confirmation):
        print(tell_confirmed(confirmed))


def tell_workers(workers: int, device: torch.device) -> str:
    """How many there are and where they train, in words."""
    each = f"{workers} workers, each on " if workers > 1 else "1 worker on "
    words = each + name_machine(device, share_threads(workers))
    shared = device.type == "cuda" and device.index is None
    gpus = torch.cuda.device_count() if shared else 1
    return words if gpus <= workers else f"{words}; --workers {gpus} would use all {gpus} GPUs"


def fill(search: Search, phase: Phase, storage: RDBStorage, study: Study) -> None:
    """Have the slots of the phase's study filled by this process or by worker processes.

    Raises:
        StudyError, DataError: as `run_search`.
    """
    with StudyProgress(study, phase.wanted, search.workers, phase.protocol.epochs):
        try:
            if search.workers == 1:
                fill_here(search, phase, storage, study, pick_device(search.device))
            else:
                fill_by_workers(search, phase, study)
        finally:
            close_surplus(study, storage, phase.wanted)
    discard(find_folder(search.storage, phase.name), phase.wanted)
