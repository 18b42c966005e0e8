from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import optuna
import pytest
from optuna import Study, Trial, TrialPruned
from optuna.samplers import NSGAIISampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.errors import StudyError, TrialFailedError
from search.study import worker
from search.study.curve import CURVE
from search.study.slots import (
    MAX_DEATHS,
    _take,
    claim_slot,
    close_surplus,
    count_deaths,
    count_done,
    group_slots,
    is_done,
    open_slots,
)
from search.study.storage import connect
from search.study.study import Protocol, find_study, open_study
from search.study.worker import work

PROTOCOL = Protocol(data_digest="digest")


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return connect(str(tmp_path / "search.db"))


@pytest.fixture
def study(storage: RDBStorage) -> Study:
    return open_study(storage, "s", PROTOCOL)


def draw(trial: Trial) -> float:
    return trial.suggest_int("x", 0, 10**6) / 10**6


def settled(study: Study) -> dict[int, TrialState]:
    return {
        slot: next(t.state for t in trials if is_done(t))
        for slot, trials in group_slots(study.trials).items()
    }


def test_the_total_is_the_studys(study: Study, storage: RDBStorage) -> None:
    work(study, storage, range(3), draw)
    work(study, storage, range(5), draw)
    work(study, storage, range(5), draw)
    assert len(study.trials) == 5
    assert len({t.params["x"] for t in study.trials}) == 5


def test_each_slot_is_run_once_by_two_workers(study: Study, storage: RDBStorage) -> None:
    open_slots(study, range(4))
    open_slots(study, range(4))
    first = claim_slot(study, storage, range(4))
    second = claim_slot(study, storage, range(4))
    assert first and second and first.number != second.number
    assert len(study.trials) == 4


def test_only_so_many_slots_wait_at_once(study: Study, storage: RDBStorage) -> None:
    open_slots(study, range(9), ahead=3)
    open_slots(study, range(9), ahead=3)
    assert [t.user_attrs["slot"] for t in study.trials] == [0, 1, 2]
    assert claim_slot(study, storage, range(9))
    open_slots(study, range(9), ahead=3)
    assert [t.user_attrs["slot"] for t in study.trials] == [0, 1, 2, 3]


def test_what_was_interrupted_comes_first_however_many_wait(
    study: Study, storage: RDBStorage
) -> None:
    order: list[int] = []

    def stop_at_once(trial: Trial) -> float:
        # As a search's own process does, which opens more slots as soon as one is taken.
        open_slots(study, range(40))
        raise KeyboardInterrupt

    def note(trial: Trial) -> float:
        order.append(trial.user_attrs["slot"])
        return draw(trial)

    with pytest.raises(KeyboardInterrupt):
        work(study, storage, range(40), stop_at_once)
    work(study, storage, range(40), note)
    assert order == list(range(40))


def test_of_workers_at_one_moment_only_one_gets_the_trial(tmp_path: Path, study: Study) -> None:
    open_slots(study, range(15))
    barrier = Barrier(4)

    def claim_all(_: int) -> list[bool]:
        own = connect(str(tmp_path / "search.db"))
        trials = study.get_trials(deepcopy=False)
        return [_take(own, trial) for trial in trials if barrier.wait() >= 0]

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(claim_all, range(4)))
    assert [sum(takers) for takers in zip(*taken, strict=True)] == [1] * 15


def test_a_worker_whose_trial_was_taken_for_dead_goes_on(
    study: Study, storage: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    def sleep_too_long(trial: Trial) -> float:
        value = draw(trial)
        if len(study.trials) == 1:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            trial.report(value, 1)
        return value

    work(study, storage, range(1), sleep_too_long)
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]
    assert study.trials[0].params == study.trials[1].params
    assert "trial 0 counts as dead" in caplog.text


def test_a_slot_that_was_opened_twice_is_run_once(study: Study, storage: RDBStorage) -> None:
    for _ in range(2):
        study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs={"slot": 0}))
    work(study, storage, range(1), draw)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.WAITING]


def test_a_worker_killed_right_after_its_claim_is_noticed(tmp_path: Path) -> None:
    storage = connect(str(tmp_path / "search.db"), heartbeat=1)
    study = open_study(storage, "s", PROTOCOL)
    open_slots(study, range(1))
    assert claim_slot(study, storage, range(1))
    work(study, storage, range(1), draw)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_waiting_trials_of_done_slots_are_closed(study: Study, storage: RDBStorage) -> None:
    for slot in (0, 0, 1):
        study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs={"slot": slot}))
    work(study, storage, range(1), draw)
    close_surplus(study, storage, range(2))
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "WAITING"]
    assert "done already" in study.trials[1].user_attrs["reason"]


def test_an_interrupted_trial_is_run_again_with_its_parameters_and_generation(
    study: Study, storage: RDBStorage
) -> None:
    # The slots' own sampler would draw the same parameters again, and knows no generations.
    study.sampler = NSGAIISampler(population_size=2)

    def interrupt(trial: Trial) -> float:
        draw(trial)
        if trial.user_attrs["slot"] == 1:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        work(study, storage, range(3), interrupt)
    work(study, storage, range(3), draw)
    slots = group_slots(study.trials)
    assert [len(slots[slot]) for slot in range(3)] == [1, 2, 1]
    first, again = slots[1]
    assert first.params == again.params
    assert first.system_attrs == again.system_attrs != {}
    # What was begun comes before what was not.
    (last,) = slots[2]
    assert again.datetime_start and last.datetime_start
    assert again.datetime_start < last.datetime_start
    assert count_done(study, range(3)) == 3


def test_a_trial_that_is_run_again_begins_without_the_figures_of_the_first(
    study: Study, storage: RDBStorage
) -> None:
    def stop_after_an_epoch(trial: Trial) -> float:
        trial.set_user_attr(CURVE, [0.1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, storage, range(1), stop_after_an_epoch)
    work(study, storage, range(1), draw)
    assert study.trials[1].user_attrs == {"slot": 0}


def test_an_unforeseen_error_is_not_met_for_ever(study: Study, storage: RDBStorage) -> None:
    def fail(_: Trial) -> float:
        raise RuntimeError("a fault of the code")

    for _ in range(MAX_DEATHS):
        with pytest.raises(RuntimeError, match="a fault"):
            work(study, storage, range(1), fail)
    work(study, storage, range(1), draw)
    assert settled(study) == {0: TrialState.FAIL}


def test_failures_are_recorded_with_a_reason_and_not_repeated(
    study: Study, storage: RDBStorage
) -> None:
    def objective(trial: Trial) -> float:
        if trial.user_attrs["slot"] == 0:
            raise TrialFailedError("out of memory")
        if trial.user_attrs["slot"] == 1:
            raise TrialPruned
        return draw(trial)

    work(study, storage, range(3), objective)
    assert settled(study) == {0: TrialState.FAIL, 1: TrialState.PRUNED, 2: TrialState.COMPLETE}
    assert study.trials[0].user_attrs["reason"] == "out of memory"
    assert len(study.trials) == 3


def test_a_slot_that_kills_its_workers_is_given_up(study: Study, storage: RDBStorage) -> None:
    for _ in range(MAX_DEATHS):
        open_slots(study, range(1))
        trial = claim_slot(study, storage, range(1))
        assert trial is not None
        study.tell(trial, state=TrialState.FAIL)
    work(study, storage, range(1), draw)
    assert settled(study) == {0: TrialState.FAIL}
    assert "workers died" in study.trials[-1].user_attrs["reason"]


def test_a_slot_that_gets_further_each_time_is_not_given_up(
    study: Study, storage: RDBStorage
) -> None:
    for epoch in (*range(1, MAX_DEATHS + 3), 1, 2):
        open_slots(study, range(1))
        trial = claim_slot(study, storage, range(1))
        assert trial is not None
        trial.report(0.5, epoch)
        study.tell(trial, state=TrialState.FAIL)
    assert count_deaths(study.trials) == 2
    work(study, storage, range(1), draw)
    assert settled(study) == {0: TrialState.COMPLETE}


def test_a_value_for_a_trial_that_has_ended_meanwhile_settles_nothing(
    study: Study, storage: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    def end_meanwhile(trial: Trial) -> float:
        if len(study.trials) == 1:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        assert not done
        return 0.5

    work(study, storage, range(1), end_meanwhile, settled=done.append)
    assert done == [0]
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]
    assert "trial 0 counts as dead" in caplog.text


def test_anothers_trials_beyond_the_wanted_are_not_waited_for(
    study: Study, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_slots(study, (7,))
    assert claim_slot(study, storage, (7,)) is not None
    monkeypatch.setattr(worker, "POLL_SECONDS", None)
    work(study, storage, range(2), draw)
    assert count_done(study, range(2)) == 2


def test_nobody_leaves_before_all_is_done(
    study: Study, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker gives its slot back just after this one found nothing that waits."""
    open_slots(study, range(1))
    taken = claim_slot(study, storage, range(1))
    looks = []

    def look(*arguments: Any) -> Trial | None:
        found = claim_slot(*arguments)
        looks.append(found)
        if len(looks) == 2:
            assert taken is not None
            taken.set_user_attr("interrupted", True)
            study.tell(taken, state=TrialState.FAIL)
        return found

    monkeypatch.setattr(worker, "claim_slot", look)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0)
    work(study, storage, range(1), draw)
    assert count_done(study, range(1)) == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Protocol(data_digest="other"), "the train split has digest digest there, other here"),
        (Protocol(data_digest="digest", space="residual"), "space is 'paper' there"),
        (Protocol(data_digest="digest", space_version=2), "the paper space has changed since then"),
    ],
)
def test_a_study_of_something_else_is_refused(
    study: Study, storage: RDBStorage, other: Protocol, words: str
) -> None:
    with pytest.raises(StudyError, match=f"{words}.*; choose another --study, or"):
        open_study(storage, study.study_name, other)


def test_a_study_from_before_there_were_several_objectives_and_versions_goes_on(
    study: Study, storage: RDBStorage
) -> None:
    fields, later = study.user_attrs["protocol"], ("objectives", "space_version")
    study.set_user_attr("protocol", {k: v for k, v in fields.items() if k not in later})
    open_study(storage, study.study_name, PROTOCOL)
    assert find_study(storage, study.study_name)[1] == PROTOCOL


def test_objectives_have_names_in_older_studies_too(study: Study, storage: RDBStorage) -> None:
    study._storage.set_study_system_attr(study._study_id, "study:metric_names", None)
    again = open_study(storage, study.study_name, PROTOCOL)
    assert again.metric_names == ["validation accuracy"]
    several = open_study(storage, "t", replace(PROTOCOL, objectives="accuracy,flops"))
    assert several.metric_names == ["validation accuracy", "FLOPs an image"]


def test_an_unknown_study_is_named(study: Study, storage: RDBStorage) -> None:
    with pytest.raises(StudyError, match="no study t in this storage; it holds: s"):
        find_study(storage, "t")
    assert find_study(storage, "s")[1] == PROTOCOL
