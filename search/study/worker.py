"""A worker: takes slots until the study is done, and shows that it lives."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from optuna import Study, Trial, TrialPruned
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.errors import StoppedError, StudyError, TrialFailedError
from search.study.slots import claim_slot, count_done, open_slots
from search.study.storage import STORAGE_ERRORS

Objective = Callable[[Trial], float | Sequence[float]]
"""Trains a trial; returns its value for each objective."""

LOG: Final = logging.getLogger(__name__)

STOPPED: Final = (KeyboardInterrupt, StoppedError, StudyError)
"""What ends a worker and says nothing of its trial."""

POLL_SECONDS: Final = 2.0
"""Pause of a worker that finds nothing to do while others, who may die, still run."""


def work(
    study: Study,
    storage: RDBStorage,
    wanted: Collection[int],
    objective: Objective,
    templates: Mapping[int, FrozenTrial] | None = None,
    *,
    settled: Callable[[int], None] = lambda _: None,
) -> None:
    """Run trials until every wanted slot is done.

    What stops the worker (`STOPPED`) gives the slot back with its parameters.

    Args:
        study: of this program.
        storage: that the study is in.
        wanted: numbers of the slots.
        objective: trains a trial.
        templates: as `open_slots` takes them.
        settled: called with a slot that was settled here, once that is in the storage.
    """
    # First, so that what was interrupted goes on before anything new.
    open_slots(study, wanted, templates)
    while True:
        trial = claim_slot(study, storage, wanted)
        if trial is None:
            open_slots(study, wanted, templates)
            trial = claim_slot(study, storage, wanted)
        if trial is not None:
            if run_trial(study, storage, trial, objective):
                settled(trial.user_attrs["slot"])
        elif count_done(study, wanted) < len(wanted):
            time.sleep(POLL_SECONDS)
        else:
            return


def run_trial(study: Study, storage: RDBStorage, trial: Trial, objective: Objective) -> bool:
    """Run a claimed trial and record its value, or why it has none; whether that was possible.

    An unforeseen error counts as the worker's death, so that it does not come back for ever.
    """
    try:
        with sign_of_life(storage, trial._trial_id):
            _settle(study, trial, objective)
            return True
    except UpdateFinishedTrialError:
        LOG.warning("trial %d counts as dead, for want of signs of life", trial.number)
        return False
    except BaseException as error:
        # Where the storage is gone the trial counts as dead by and by.
        with suppress(UpdateFinishedTrialError, *STORAGE_ERRORS):
            if isinstance(error, (*STOPPED, *STORAGE_ERRORS)):
                trial.set_user_attr("interrupted", True)
            # With its own error for one that has ended, Optuna would hide what went wrong.
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise


def _settle(study: Study, trial: Trial, objective: Objective) -> None:
    try:
        values = objective(trial)
    except TrialPruned:
        _tell(study, trial, TrialState.PRUNED)
    except TrialFailedError as error:
        trial.set_user_attr("reason", str(error))
        _tell(study, trial, TrialState.FAIL)
    else:
        _tell(study, trial, TrialState.COMPLETE, values)


def _tell(
    study: Study, trial: Trial, state: TrialState, values: float | Sequence[float] | None = None
) -> None:
    # Optuna's own error for a trial that has ended meanwhile is a mere ValueError.
    if study.tell(trial, values, state, skip_if_finished=True).state != state:
        raise UpdateFinishedTrialError


@contextmanager
def sign_of_life(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Record a heartbeat at the storage's interval, from a thread, until left."""
    over = threading.Event()
    interval = storage.get_heartbeat_interval()

    def beat() -> None:
        while not over.is_set():
            # A storage that is away for a moment may be back for the next one.
            with suppress(*STORAGE_ERRORS):
                storage.record_heartbeat(trial_id)
            over.wait(interval)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
