import time

import pytest

from search.training.checkpoint import Clock


def test_short_epochs_share_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock()
    due = []
    for seconds in (4, 4, 4, 4, 30, 1):
        now[0] += seconds
        due.append(clock.due())
    assert due == [True, False, False, True, True, False]


def test_a_clock_without_edges_leaves_out_first_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock(60, edges=False)
    due = []
    for seconds in (4, 57, 4):
        now[0] += seconds
        due.append(clock.due())
    assert due == [False, True, False]
    assert not clock.due(ended=True) and Clock().due(ended=True)
