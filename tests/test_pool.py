import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from search.data import notice
from search.errors import StudyError
from search.stop import Signalled
from search.study import pool
from search.study.phase import Phase, Search
from search.study.run import tell_workers
from search.study.slots import claim_slot, count_done
from search.study.storage import connect
from search.study.study import Protocol, open_study

PROTOCOL = Protocol(data_digest="digest")
PHASE = Phase(name="s", protocol=PROTOCOL, wanted=(0, 1))


@pytest.fixture
def search(tmp_path: Path) -> Search:
    storage = str(tmp_path / "search.db")
    return Search(
        data=tmp_path,
        storage=storage,
        name="s",
        protocol=PROTOCOL,
        trials=2,
        workers=2,
        device="cpu",
    )


@pytest.fixture
def signals() -> Iterator[None]:
    """A worker's signal handlers and silence, taken back."""
    level = notice.LOG.level
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    notice.LOG.setLevel(level)


class Stub:
    """Stands for a worker process."""

    exitcode = 0

    def is_alive(self) -> bool:
        return False


def test_workers_that_leave_early_do_not_look_like_a_whole_search(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "start_worker", lambda *_: Stub())
    storage = connect(search.storage)
    study = open_study(storage, "s", PROTOCOL)
    with pytest.raises(StudyError, match="left with 0 of 2 trials done"):
        pool.fill_by_workers(search, PHASE, study)


def test_a_stop_while_workers_start_ends_those_that_have(
    search: Search, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start_and_stop(*_: object) -> None:
        get_context("spawn").Process(target=time.sleep, args=(60,)).start()
        raise Signalled(signal.SIGTERM)

    monkeypatch.setattr(pool, "start_worker", start_and_stop)
    study = open_study(connect(search.storage), "s", PROTOCOL)
    with pytest.raises(Signalled):
        pool.fill_by_workers(search, PHASE, study)
    assert not active_children()
    assert "stops after each worker's step" in capsys.readouterr().err


def test_a_fault_that_kills_every_worker_stops_the_search(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots that are given up in the meantime are no progress."""
    storage = connect(search.storage)
    phase = replace(PHASE, wanted=tuple(range(20)))
    study = open_study(storage, "s", PROTOCOL)

    class Dying(Stub):
        exitcode = 1

        def is_alive(self) -> bool:
            return True

    def die_in_a_trial(*_: object) -> Dying:
        trial = claim_slot(study, storage, phase.wanted)
        assert trial is not None
        study.tell(trial, state=TrialState.FAIL)
        return Dying()

    monkeypatch.setattr(pool, "start_worker", die_in_a_trial)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(StudyError, match="workers died without a trial trained"):
        pool.fill_by_workers(search, phase, study)
    assert count_done(study, phase.wanted) < 5


@pytest.mark.usefixtures("signals")
def test_a_terminated_worker_tells_that_it_is_to_be_replaced(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "_follow_parent", lambda: None)
    monkeypatch.setattr(pool, "connect", end)
    with pytest.raises(SystemExit) as left:
        pool.run_worker(search, PHASE, 0, get_context("spawn").SimpleQueue())
    assert left.value.code == 143


def test_the_search_tells_where_its_workers_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert tell_workers(1, torch.device("cpu")).startswith("1 worker on CPU, ")
    assert ", 2 threads, " in tell_workers(4, torch.device("cpu"))
    assert ", 1 thread, " in tell_workers(20, torch.device("cpu"))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert ", 8 threads, " in tell_workers(4, torch.device("cpu"))


def test_gpus_that_no_worker_would_use_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr("search.study.run.name_machine", lambda *_: "a GPU")
    assert tell_workers(1, torch.device("cuda")).endswith("; --workers 8 would use all 8 GPUs")
    assert tell_workers(8, torch.device("cuda")) == "8 workers, each on a GPU"
    assert tell_workers(1, torch.device("cuda:3")) == "1 worker on a GPU"
