import signal
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from search import pool
from search.errors import StudyError
from search.phase import Phase, Search
from search.storage import connect
from search.study import Protocol, open_study

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
    """A worker's signal handlers, taken back."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Stub:
    """Stands for a worker process."""

    exitcode = 0

    def is_alive(self) -> bool:
        return False

    def terminate(self) -> None: ...

    def join(self) -> None: ...


def test_workers_that_leave_early_do_not_look_like_a_whole_search(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "start_worker", lambda *_: Stub())
    storage = connect(search.storage)
    study = open_study(storage, "s", PROTOCOL)
    with pytest.raises(StudyError, match="left with 0 of 2 trials done"):
        pool.fill_by_workers(search, PHASE, storage, study)


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
