"""Starting from weights, and learning from teachers."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from search.data.splits import load_split
from search.errors import TrainingError
from search.retraining import retrain as module
from search.retraining.retrain import retrain
from search.training.recipe import Recipe
from service.artifact import load_artifact, write_card
from tests.conftest import TINY


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


def test_a_finished_training_is_measured_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, cpu = Recipe(epochs=1, batch_size=16), torch.device("cpu")
    train = partial(retrain, data, TINY, recipe, tmp_path, seed=0, device=cpu)
    measured: list[Path] = []
    finish = module.finish_artifact

    def note(folder: Path, *arguments: Any) -> None:
        measured.append(folder)
        finish(folder, *arguments)

    monkeypatch.setattr(module, "finish_artifact", note)
    folder = train(name="tiny")
    card = load_artifact(folder).card
    assert train(name="tiny") == folder
    assert len(measured) == 1 and load_artifact(folder).card == card
    # Stopped while it was measured; and under another name.
    write_card(folder, {name: fact for name, fact in card.items() if name != "robustness"})
    train(name="tiny")
    train(name="other")
    assert len(measured) == 3 and load_artifact(folder).card["name"] == "other"
