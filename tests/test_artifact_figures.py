from dataclasses import asdict

import numpy as np
import pytest

from search.data.faces import Faces
from search.evaluation.evaluate import Evaluation
from search.report.artifact_figures import (
    draw_augmented,
    draw_coverage,
    draw_mistakes,
    pick_examples,
)
from search.training.recipe import Recipe
from tests.conftest import make_faces


def answer(faces: Faces) -> Evaluation:
    """Right answers, each with another confidence."""
    logits = np.zeros((len(faces), 7), np.float32)
    logits[np.arange(len(faces)), faces.labels] = np.linspace(1, 3, len(faces))
    return Evaluation(faces, logits)


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


def test_augmented_faces_are_exposed_as_the_recipe_says() -> None:
    def draw(exposure: float) -> np.ndarray:
        recipe = Recipe(epochs=1, exposure=exposure)
        axes = draw_augmented(answer(make_faces(28)), asdict(recipe)).figure.axes
        return np.stack([np.asarray(axis.get_images()[0].get_array()) for axis in axes])

    assert not np.array_equal(draw(0.0), draw(2.0))
