import errno
import os
import time
from pathlib import Path

import pytest

from service.server import balance
from service.server.balance import Balance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def join(folder: Path, workers: int) -> list[Balance]:
    joined = [Balance() for _ in range(workers)]
    for index, member in enumerate(joined):
        member.join(folder, index, workers)
    return joined


def enter(member: Balance, count: int) -> None:
    for _ in range(count):
        member.enter()


def test_a_worker_alone_keeps_its_connections(clock: list[float]) -> None:
    alone = Balance()
    enter(alone, 100)
    clock[0] += 1
    assert not alone.gives_away()


def test_a_full_disk_leaves_a_worker_alone(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    member = Balance()
    with pytest.raises(OSError, match="No space"):
        member.join(tmp_path, 0, 2)
    enter(member, 100)
    clock[0] += 1
    assert not member.gives_away()


def test_a_worker_that_is_to_be_avoided_gets_no_connections(
    tmp_path: Path, clock: list[float]
) -> None:
    busy, broken, other = join(tmp_path, 3)
    enter(busy, 20)
    enter(other, 20)
    broken.avoid(True)
    clock[0] += 1
    assert not busy.gives_away()
    assert broken.gives_away()
    broken.avoid(False)
    clock[0] += 1
    assert busy.gives_away()
    assert not broken.gives_away()


def test_only_the_busier_worker_gives_away(tmp_path: Path, clock: list[float]) -> None:
    busy, idle = join(tmp_path, 2)
    enter(busy, 20)
    enter(idle, 12)
    clock[0] += 1
    assert busy.gives_away()
    assert not idle.gives_away()


@pytest.mark.parametrize(("here", "there", "given"), [(3, 1, 0), (18, 16, 0), (4, 1, 1)])
def test_small_differences_are_left(
    tmp_path: Path, clock: list[float], here: int, there: int, given: int
) -> None:
    first, second = join(tmp_path, 2)
    enter(first, here)
    enter(second, there)
    clock[0] += 1
    assert first.gives_away() == given


def test_a_batch_that_ends_elsewhere_is_no_reason(tmp_path: Path, clock: list[float]) -> None:
    first, second = join(tmp_path, 2)
    enter(first, 16)
    enter(second, 16)
    clock[0] += 1
    for _ in range(16):
        second.leave()
    clock[0] += 0.005
    assert not first.gives_away()


def test_connections_are_given_away_one_after_the_other(tmp_path: Path, clock: list[float]) -> None:
    busy, idle = join(tmp_path, 2)
    enter(busy, 32)
    given = 0
    for _ in range(1000):
        clock[0] += 0.001
        if busy.gives_away():
            given += 1
            busy.leave()
            idle.enter()
    assert 14 <= given <= 18


def test_a_worker_that_comes_back_begins_anew(tmp_path: Path, clock: list[float]) -> None:
    dead, other = join(tmp_path, 2)
    enter(dead, 30)
    enter(other, 10)
    clock[0] += 1
    assert not other.gives_away()
    Balance().join(tmp_path, 0, 2)
    assert other.gives_away()


def test_requests_that_end_are_forgotten(tmp_path: Path, clock: list[float]) -> None:
    busy, _ = join(tmp_path, 2)
    enter(busy, 10)
    clock[0] += 1
    for _ in range(10):
        busy.leave()
    clock[0] += 10 * balance.SMOOTHING_SECONDS
    assert not busy.gives_away()
