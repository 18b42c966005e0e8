import time

import pytest

from search.training.recipe import Recipe
from search.training.training_progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is; the test moves it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def figures(epoch: int) -> dict[str, float]:
    names = ("loss", "accuracy", "validation_loss", "validation_accuracy", "images_per_second")
    return {"epoch": epoch, **dict.fromkeys(names, 1.0)}


def test_a_training_that_goes_on_says_where(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = TrainingProgress(Recipe(epochs=10))
    progress.begin(3.0)
    clock[0] += 60
    progress.show(figures(4))
    first, line = capsys.readouterr().out.splitlines()
    assert first == "resuming after epoch 3 of 10"
    assert line.endswith(" 0:06:00 left")


def test_the_rest_of_an_epoch_tells_no_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = TrainingProgress(Recipe(epochs=10))
    progress.begin(3.98)
    clock[0] += 5
    progress.show(figures(4))
    clock[0] += 60
    progress.show(figures(5))
    first, rest, whole = capsys.readouterr().out.splitlines()
    assert first == "resuming within epoch 4 of 10"
    assert "left" not in rest
    assert whole.endswith(" 0:05:00 left")


def test_the_time_left_may_be_days(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(Recipe(epochs=751))
    clock[0] += 480
    progress.show(figures(1))
    assert capsys.readouterr().out.endswith(" 100:00:00 left\n")


def test_a_fresh_training_says_nothing_of_going_on(capsys: pytest.CaptureFixture[str]) -> None:
    TrainingProgress(Recipe(epochs=10)).begin(0.0)
    assert capsys.readouterr().out == ""


def test_later_epochs_of_larger_images_are_to_take_longer(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = TrainingProgress(Recipe(epochs=4, sizes=((0.5, 24), (1.0, 48))))
    clock[0] += 10
    progress.show(figures(1))
    clock[0] += 10
    progress.show(figures(2))
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" 0:01:30 left")
    assert second.endswith(" 0:01:20 left")
