import sys
import time
from multiprocessing import get_context

import pytest

from search.training.bar import bar


def test_a_log_gets_a_line_each_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for item in bar(range(10), "steps"):
        assert item == now[0] // 10
        now[0] += 10
    lines = ["steps: 3 of 10", "steps: 6 of 10", "steps: 9 of 10"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_terminal_gets_a_bar_that_goes_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(bar(range(3), "steps")) == [0, 1, 2]
    drawn = capsys.readouterr().err
    assert drawn.startswith("\rsteps:   0%") and drawn.endswith("\r")
    assert list(bar([7], "steps")) == [7]
    assert not capsys.readouterr().err


def draw_in_worker() -> None:
    """A worker's loop; fails where it draws."""
    sys.stderr = None
    assert list(bar(range(3), "steps")) == [0, 1, 2]


def test_a_worker_draws_nothing() -> None:
    process = get_context("spawn").Process(target=draw_in_worker)
    process.start()
    process.join()
    assert process.exitcode == 0
