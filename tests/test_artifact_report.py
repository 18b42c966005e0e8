from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from search.artifact_report import (
    draw_augmented,
    draw_coverage,
    draw_mistakes,
    pick_examples,
    write_artifact_report,
)
from search.config import RECIPES, Recipe
from search.data import Faces
from search.evaluate import Evaluation
from service.artifact import HISTORY_FILE, load_artifact, write_card
from tests.conftest import make_faces, write_folder


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


def answer(faces: Faces) -> Evaluation:
    """Right answers, each with another confidence."""
    logits = np.zeros((len(faces), 7), np.float32)
    logits[np.arange(len(faces)), faces.labels] = np.linspace(1, 3, len(faces))
    return Evaluation(faces, logits)


def test_the_page_says_what_comes_from_the_card(artifact: Path, data: Path, tmp_path: Path) -> None:
    write_folder(data, "test", make_faces(35, seed=2))
    facts = {
        "data": {"name": "FER2013", "validation_sha256": "of other faces"},
        "parameters": 1_000_000,
        "robustness": {"split": "validation", "images": 3589, "accuracy": {"none": 0.7}},
    }
    write_card(artifact, load_artifact(artifact).card | facts)
    text = write_artifact_report(artifact, data, tmp_path, torch.device("cpu")).read_text()
    assert "From the card: 3589 validation images of its own data, corrupted." in text
    assert "Measured for this page." in text
    assert "Table III" not in text
    page = write_artifact_report(artifact, data, tmp_path, torch.device("cpu"), "test")
    assert "Table III" not in page.read_text()


def test_augmented_faces_are_of_several_labels_and_never_blank() -> None:
    images = make_faces(28).images.copy()
    labels = np.sort(np.arange(28) % 4)
    images[labels == 0] = 0
    images[10] = 0
    faces = Faces(images, labels)
    rows = pick_examples(faces)
    assert faces.labels[rows].tolist() == [1, 2, 3]
    assert not faces.blank()[rows].any()
    views = draw_augmented(answer(faces), asdict(Recipe(epochs=1, mirror=True))).figure.axes
    assert [axis.get_title() for axis in views[::8]] == ["disgust", "fear", "happy"]
    assert all(np.ptp(np.asarray(axis.get_images()[0].get_array())) > 0 for axis in views)


@pytest.mark.parametrize(("count", "least"), [(7, 1.0), (70, 30 / 70), (7000, 0.01)])
def test_accuracy_against_coverage_begins_with_enough_answers(count: int, least: float) -> None:
    faces = Faces(np.zeros((count, 48, 48), np.uint8), np.sort(np.arange(count) % 7))
    (axis,) = draw_coverage(answer(faces)).axes
    shares = np.asarray(axis.get_lines()[0].get_xdata())
    assert shares.min() == pytest.approx(least, abs=1 / count)
    assert shares.min() >= least - 1e-9
    assert shares.max() == 1
    assert len(axis.collections) == 1


def test_a_model_without_a_mistake_has_a_page() -> None:
    assert draw_mistakes(answer(make_faces(7))).figure.axes
