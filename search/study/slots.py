"""A study's places to fill, each filled exactly once by however many workers.

A slot is the number of a configuration. Its trials carry it as the user attribute `slot`:
the first one, and one more for each time that a worker died or was interrupted within it.
A slot is done when one of its trials is complete, pruned, or failed for a reason that trying
again would not change (attribute `reason`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from optuna import Study, Trial, create_trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import update

from search.study.curve import read_curve
from search.study.silence import fail_silent_trials

MAX_DEATHS: Final = 3
"""Workers that may die within one slot without an epoch gained before it is given up."""

LASTING: Final[tuple[str, ...]] = ("slot", "seed", "confirms", "seeds")
"""Attributes that a slot's trials share; the others tell of one trial's training."""

RUNG: Final = "completed_rung_"
"""Start of the names under which Optuna's pruners note what a trial had at each rung."""

CONSTRAINT: Final = "constraints:"
"""Start of the names of what `Trial.set_constraint` keeps."""

AHEAD: Final = 16
"""Slots that wait at once: each look at a study reads again all trials that are not finished."""


def group_slots(trials: Sequence[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    """The trials of each slot, in order of their numbers."""
    slots: dict[int, list[FrozenTrial]] = defaultdict(list)
    for trial in trials:
        slots[trial.user_attrs["slot"]].append(trial)
    return slots


def is_done(trial: FrozenTrial) -> bool:
    """Whether the trial settles its slot."""
    settled = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return settled or (trial.state == TrialState.FAIL and "reason" in trial.user_attrs)


def settled_trials(study: Study, wanted: Collection[int]) -> list[FrozenTrial]:
    """The trial that settled it, for each wanted slot that is done."""
    slots = group_slots(study.get_trials(deepcopy=False))
    settled = (next(filter(is_done, slots.get(slot, [])), None) for slot in wanted)
    return [trial for trial in settled if trial]


def count_done(study: Study, wanted: Collection[int]) -> int:
    """How many of the wanted slots are done."""
    return len(settled_trials(study, wanted))


def count_settled(study: Study) -> int:
    """How many slots are done."""
    return len(settled_trials(study, group_slots(study.get_trials(deepcopy=False))))


def open_slots(
    study: Study,
    wanted: Collection[int],
    templates: Mapping[int, FrozenTrial] | None = None,
    ahead: int = AHEAD,
) -> None:
    """Give wanted slots that nobody fills a waiting trial each.

    Those are all whose worker died or was interrupted; the next trial then has the same
    parameters. A slot in which `MAX_DEATHS` workers died is settled as failed. And those are the
    first new ones.

    Args:
        study: of this program.
        wanted: numbers of the slots, in the order in which they are opened.
        templates: the first trial of a slot; without one its parameters are left to the sampler.
        ahead: how many slots are to wait before no new one is opened.
    """
    fail_silent_trials(study)
    slots = group_slots(study.get_trials(deepcopy=False))
    waiting = sum(_first_waiting(slots.get(slot, [])) is not None for slot in wanted)
    for slot in wanted:
        trials = slots.get(slot, [])
        if not trials and waiting < ahead:
            fresh = create_trial(state=TrialState.WAITING, user_attrs={"slot": slot})
            study.add_trial((templates or {}).get(slot, fresh))
            waiting += 1
        elif trials and all(t.state == TrialState.FAIL and not is_done(t) for t in trials):
            study.add_trial(_repeat(trials))
            waiting += 1


def claim_slot(study: Study, storage: RDBStorage, wanted: Collection[int]) -> Trial | None:
    """Take a waiting trial that no other worker has, or None where there is none."""
    slots = group_slots(study.get_trials(deepcopy=False))
    for slot in sorted(slots.keys() & set(wanted)):
        waiting = _first_waiting(slots[slot])
        if waiting and _take(storage, waiting):
            return Trial(study, waiting._trial_id)
    return None


def close_surplus(study: Study, storage: RDBStorage, wanted: Collection[int]) -> None:
    """Fail the waiting trials of slots that are done, which idle workers opened at once."""
    slots = group_slots(study.get_trials(deepcopy=False))
    for slot in slots.keys() & set(wanted):
        if not any(map(is_done, slots[slot])):
            continue
        for trial in slots[slot]:
            if trial.state == TrialState.WAITING:
                with suppress(UpdateFinishedTrialError):
                    storage.set_trial_user_attr(trial._trial_id, "reason", "slot done already")
                    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _first_waiting(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    if any(is_done(trial) or trial.state == TrialState.RUNNING for trial in trials):
        return None
    # Two machines may have opened one slot at once; only the first trial counts.
    return next((trial for trial in trials if trial.state == TrialState.WAITING), None)


def _take(storage: RDBStorage, trial: FrozenTrial) -> bool:
    # A running trial without any sign of life never counts as dead, so that comes first:
    # the worker may be killed at once.
    storage.record_heartbeat(trial._trial_id)
    # In one statement, because Optuna looks first and then writes, and SQLite has no lock on
    # a row: two workers would both have it now and then.
    claim = (
        update(TrialModel)
        .where(TrialModel.trial_id == trial._trial_id, TrialModel.state == TrialState.WAITING)
        .values(state=TrialState.RUNNING, datetime_start=datetime.now())
    )
    with storage.engine.begin() as connection:
        return connection.execute(claim).rowcount == 1


def count_deaths(trials: Sequence[FrozenTrial]) -> int:
    """How many of a slot's trials died and were not interrupted, without an epoch gained.

    One that goes on from a checkpoint and gets further is not what kills its workers.
    """
    furthest, deaths = 0, 0
    for trial in trials:
        reached = max(read_curve(trial), default=0)
        deaths += "interrupted" not in trial.user_attrs and reached <= furthest
        furthest = max(furthest, reached)
    return deaths


def _lasting_marks(trial: FrozenTrial) -> dict[str, Any]:
    """What samplers noted of a trial, such as its generation.

    Not what a pruner noted: by its number the next trial may be of another bracket of Hyperband.
    Nor its constraints, which the next trial sets itself.
    """
    notes = trial.system_attrs.items()
    return {key: value for key, value in notes if not key.startswith((RUNG, CONSTRAINT))}


def _repeat(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    last, deaths = trials[-1], count_deaths(trials)
    given_up = deaths >= MAX_DEATHS
    attributes = {key: last.user_attrs[key] for key in LASTING if key in last.user_attrs}
    if given_up:
        attributes = last.user_attrs | {"reason": f"{deaths} workers died in it"}
    return create_trial(
        state=TrialState.FAIL if given_up else TrialState.WAITING,
        params=last.params,
        distributions=last.distributions,
        user_attrs=attributes,
        system_attrs=_lasting_marks(last),
    )
