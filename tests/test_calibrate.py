import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from search.errors import DataError
from search.evaluation.calibrate import calibrate, fit_calibration, fit_temperature, pick_threshold
from search.evaluation.evaluate import Evaluation
from search.evaluation.robustness import record_robustness
from search.evaluation.scores import Coverage
from service.artifact import load_artifact, write_card
from tests.conftest import make_faces


def draw(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (count, 7)).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*draw(temperature)) == pytest.approx(temperature, rel=0.03)


def test_the_threshold_keeps_the_target() -> None:
    logits, labels = draw(2.5)
    faces = make_faces(1)
    result = fit_calibration(Evaluation(type(faces)(faces.images, labels), logits))
    calibrated = Evaluation(faces, logits, result.temperature).probabilities
    answered = calibrated.max(1) >= result.uncertain_below
    right = calibrated.argmax(1) == labels
    assert 0 < answered.mean() < 1
    assert right[answered].mean() >= 0.8 > right.mean()
    assert answered.mean() == pytest.approx(result.facts["coverage"], abs=1e-3)
    assert result.facts["ece_after"] < 0.02 < result.facts["ece_before"]


@pytest.mark.parametrize(
    ("accuracy", "least", "expected"),
    [
        ([1.0, 0.9], 0.1, (0.0, 1.0, 0.9)),
        ([1.0, 0.7], 0.1, (0.9, 0.5, 1.0)),
        ([1.0, 0.7], 0.6, (1.0, 0.0, 0.0)),
        ([0.5, 0.7], 0.1, (1.0, 0.0, 0.0)),
    ],
)
def test_the_widest_coverage_that_reaches_the_target(
    accuracy: list[float], least: float, expected: tuple[float, float, float]
) -> None:
    curve = Coverage(np.array([0.9, 0.4]), np.array([0.5, 1.0]), np.array(accuracy))
    assert pick_threshold(curve, 0.8, least) == expected


def test_the_figures_are_of_the_rounded_threshold() -> None:
    curve = Coverage(
        np.array([0.90008, 0.90002, 0.4]), np.array([0.5, 0.6, 1.0]), np.array([0.8, 0.7, 0.6])
    )
    assert pick_threshold(curve, 0.8, 0.1) == (0.9, 0.6, 0.7)


def test_the_card_gets_the_figures_and_stays_valid(artifact: Path, data: Path) -> None:
    result = calibrate(artifact, data, torch.device("cpu"))
    card = load_artifact(artifact).card
    assert card["name"] == "tiny"
    assert (card["temperature"], card["uncertain_below"]) == (
        result.temperature,
        result.uncertain_below,
    )
    figures = card["metrics"]["validation"]
    assert figures["images"] == 35
    assert np.sum(figures["confusion"]) == 35
    assert np.trace(figures["confusion"]) / 35 == pytest.approx(figures["accuracy"])
    assert set(figures["mirrored"]) >= {"accuracy", "macro_f1", "ece"}
    json.dumps(card, allow_nan=False)


def test_images_that_stand_in_train_calibrate_nothing(artifact: Path, data: Path) -> None:
    alone = calibrate(artifact, data, torch.device("cpu"))
    for file in (data / "train").glob("*/*0.png"):
        shutil.copy(file, data / "validation" / file.parent.name / f"seen-{file.name}")
    both = calibrate(artifact, data, torch.device("cpu"))
    assert load_artifact(artifact).card["metrics"]["validation"]["images"] == 42
    assert both.facts["images"] == alone.facts["images"] == 35
    # Of all 42 it would be another one by 1e-4.
    assert both.facts["loss_before"] == pytest.approx(alone.facts["loss_before"], abs=1e-5)


@pytest.mark.parametrize("record", [calibrate, record_robustness])
def test_a_card_gets_no_figures_of_other_faces(
    record: Callable[[Path, Path, torch.device], object], artifact: Path, data: Path
) -> None:
    card = load_artifact(artifact).card
    write_card(artifact, card | {"data": {"validation_sha256": "of other faces"}})
    before = (artifact / "card.json").read_text()
    with pytest.raises(DataError, match="not the validation images of the model's card"):
        record(artifact, data, torch.device("cpu"))
    assert (artifact / "card.json").read_text() == before
