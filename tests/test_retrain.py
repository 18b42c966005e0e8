"""What a card says of a training and its data, and what a long training prints."""

import json
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from search.config import Recipe
from search.data import load_split
from search.errors import TrainingError
from search.retrain import Progress, find_terms, retrain
from service.artifact import load_artifact
from tests.conftest import TINY, make_faces
from tests.live import ROOT


@pytest.mark.parametrize("name", ["compact", "accurate"])
def test_the_shipped_cards_name_fer2013_and_its_terms(name: str) -> None:
    card = json.loads((ROOT / "models" / name / "card.json").read_text())
    terms = find_terms(card["data"]["validation_sha256"])
    assert card["data"]["name"] == terms["name"] == "FER2013"
    assert card["data"]["terms"] == terms["terms"]
    assert card["licence"] == terms["licence"]


def test_a_model_of_other_faces_is_not_said_to_be_of_fer2013() -> None:
    assert "FER2013" not in str(find_terms(make_faces(7).digest()))


def test_a_training_that_starts_from_a_network_names_it_and_is_another_one(
    data: Path, artifact: Path, tmp_path: Path
) -> None:
    recipe, cpu = Recipe(epochs=1, batch_size=16, learning_rate=0.0), torch.device("cpu")
    train = partial(retrain, data, TINY, recipe, tmp_path, name="tiny", seed=1, device=cpu)
    first, second = load_artifact(artifact), load_artifact(train(start_from=artifact))
    assert second.card["start_from"] == first.card["weights_sha256"]
    pairs = zip(first.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(TrainingError, match="start_from differs"):
        train()


@pytest.mark.parametrize("dropped", [True, False])
def test_a_training_learns_from_copies_as_its_recipe_says(
    data: Path, tmp_path: Path, dropped: bool
) -> None:
    without = load_split(data, "train").digest()
    file = next((data / "train" / "sad").iterdir())
    shutil.copy(file, file.with_name("copy.png"))
    wanted = without if dropped else load_split(data, "train").digest()
    recipe = Recipe(epochs=1, batch_size=16, drop_duplicates=dropped)
    cpu = torch.device("cpu")
    folder = retrain(data, TINY, recipe, tmp_path, name="tiny", seed=0, device=cpu)
    assert load_artifact(folder).card["data"]["train_sha256"] == wanted


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
    progress = Progress(10)
    progress.begin(3.0)
    clock[0] += 60
    progress.show(figures(4))
    first, line = capsys.readouterr().out.splitlines()
    assert first == "goes on after epoch 3 of 10"
    assert line.endswith(" 0:06:00 left")


def test_the_rest_of_an_epoch_tells_no_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(10)
    progress.begin(3.98)
    clock[0] += 5
    progress.show(figures(4))
    clock[0] += 60
    progress.show(figures(5))
    first, rest, whole = capsys.readouterr().out.splitlines()
    assert first == "goes on within epoch 4 of 10"
    assert "left" not in rest
    assert whole.endswith(" 0:05:00 left")


def test_the_time_left_may_be_days(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(751)
    clock[0] += 480
    progress.show(figures(1))
    assert capsys.readouterr().out.endswith(" 100:00:00 left\n")


def test_a_fresh_training_says_nothing_of_going_on(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(10).begin(0.0)
    assert capsys.readouterr().out == ""
