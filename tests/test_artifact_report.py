import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from search.config import RECIPES
from search.report.artifact_report import write_artifact_report
from search.retraining import card
from service.artifact import HISTORY_FILE, load_artifact, write_card
from tests.conftest import make_faces, write_folder


@pytest.fixture
def as_fer2013(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the data set pass for FER2013."""
    monkeypatch.setattr(card, "FER2013_COUNTS", (5,) * 7)


@pytest.mark.usefixtures("as_fer2013")
def test_the_page_holds_every_picture(artifact: Path, data: Path, tmp_path: Path) -> None:
    columns = "epoch,loss,accuracy,images_per_second,validation_loss,validation_accuracy"
    (artifact / HISTORY_FILE).write_text(f"{columns}\n1,2,0.1,9,2,0.2\n2,1,0.3,9,1,0.4\n")
    recipe = asdict(RECIPES["modern"])
    facts = {"recipe": recipe, "data": {"name": "FER2013"}, "parameters": 1_000_000}
    write_card(artifact, load_artifact(artifact).card | facts)
    page = write_artifact_report(artifact, data, tmp_path / "out", torch.device("cpu"))
    names = ("accuracy", "loss", "confusion", "reliability", "coverage", "augmented", "mistakes")
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == set(names)
    text = page.read_text()
    assert text.count("data:image/png") == len(names)
    assert text.count('<tr class="own"><td>this model (1.00 M parameters)') == 2


def test_own_faces_are_not_compared_with_published_figures(
    artifact: Path, data: Path, tmp_path: Path
) -> None:
    page = write_artifact_report(artifact, data, tmp_path / "out", torch.device("cpu"))
    assert "Table III" not in page.read_text()


def test_the_page_says_what_comes_from_the_card(artifact: Path, data: Path, tmp_path: Path) -> None:
    write_folder(data, "test", make_faces(35, seed=2))
    facts = {
        "data": {"name": "FER2013"},
        "parameters": 1_000_000,
        "robustness": {"split": "validation", "images": 3589, "accuracy": {"none": 0.7}},
    }
    write_card(artifact, load_artifact(artifact).card | facts)
    text = write_artifact_report(artifact, data, tmp_path, torch.device("cpu")).read_text()
    assert "From the card: 3589 validation images of its own data, corrupted." in text
    assert "Measured for this page." in text
    assert "Table III" not in text
    shutil.rmtree(data / "validation")
    page = write_artifact_report(artifact, data, tmp_path, torch.device("cpu"), "test")
    assert "Table III" not in page.read_text()


def test_the_page_tells_of_seeds_and_blending(artifact: Path, data: Path, tmp_path: Path) -> None:
    runs = [
        {"seed": 4, "accuracy": 0.70, "loss": 0.9},
        {"seed": 7, "accuracy": 0.72, "loss": 0.8, "unseen_accuracy": 0.69},
    ]
    seeds = {"split": "validation", "runs": runs, "mean": 0.71, "standard_error": 0.01}
    facts = {"seeds": seeds | {"chosen": 7}, "blend": 0.25}
    write_card(artifact, load_artifact(artifact).card | facts)
    text = write_artifact_report(artifact, data, tmp_path, torch.device("cpu")).read_text()
    assert "71.00 ± 1.00 %" in text
    assert "The weights lie 25% of the way" in text
    assert "<tr><td>4</td><td>70.00%</td><td></td><td>0.9000</td></tr>" in text
    assert '<tr class="own"><td>7</td><td>72.00%</td><td>69.00%</td><td>0.8000</td></tr>' in text


@pytest.mark.usefixtures("as_fer2013")
@pytest.mark.parametrize(("split", "ranked"), [("validation", True), ("train", False)])
def test_accuracy_on_the_train_split_has_no_place_beside_published_figures(
    split: str, ranked: bool, artifact: Path, data: Path, tmp_path: Path
) -> None:
    facts = {"data": {"name": "FER2013"}, "parameters": 1_000_000}
    write_card(artifact, load_artifact(artifact).card | facts)
    page = write_artifact_report(artifact, data, tmp_path / "out", torch.device("cpu"), split)
    assert ("Table III" in page.read_text()) is ranked
