import time

import pytest

from search.checkpoint import Clock


def test_short_epochs_share_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = Clock()
    due = []
    for seconds in (4, 4, 4, 4, 30, 1):
        now[0] += seconds
        due.append(clock.due())
    assert due == [True, False, False, True, True, False]
