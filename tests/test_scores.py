import numpy as np
import pytest

from search.evaluation.scores import (
    bootstrap,
    count_confusion,
    cover,
    f1,
    precision,
    recall,
    reliability,
    wilson,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])


def test_scores_by_class() -> None:
    confusion = count_confusion(LABELS, PREDICTED)
    assert confusion[0].tolist() == [2, 1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(precision(confusion), [1, 1 / 2, 1 / 2, 0, 0, 0, 0])
    np.testing.assert_allclose(recall(confusion), [2 / 3, 1 / 2, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(f1(confusion), [4 / 5, 1 / 2, 2 / 3, 0, 0, 0, 0])


def test_the_bootstrap_has_the_binomial_width() -> None:
    confusion = np.zeros((7, 7), np.int64)
    confusion[0, 0], confusion[1, 0] = 640, 360
    accuracy, macro = bootstrap(confusion)
    error = (0.64 * 0.36 / 1000) ** 0.5
    assert accuracy.low == pytest.approx(0.64 - 1.96 * error, abs=0.004)
    assert accuracy.high == pytest.approx(0.64 + 1.96 * error, abs=0.004)
    assert macro.low < f1(confusion).mean() < macro.high


def rows_with(confidences: list[float]) -> np.ndarray:
    """Probabilities whose likeliest class is always 0."""
    rest = [[(1 - c) / 6] * 6 for c in confidences]
    return np.array([[c, *r] for c, r in zip(confidences, rest, strict=True)])


def test_calibration_error_is_the_weighted_gap() -> None:
    probabilities = rows_with([0.9, 0.9, 0.9, 0.5])
    diagram = reliability(probabilities, np.array([0, 0, 1, 0]))
    assert diagram.counts.sum() == 4
    assert diagram.error == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.5)


def test_certain_answers_fall_into_the_last_bin() -> None:
    assert reliability(rows_with([1.0]), np.array([0])).counts[-1] == 1


def test_coverage_falls_with_the_threshold_and_counts_ties_once() -> None:
    curve = cover(rows_with([0.5, 0.9, 0.7, 0.7]), np.array([1, 0, 0, 1]))
    np.testing.assert_allclose(curve.threshold, [0.9, 0.7, 0.5])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.75, 1])
    np.testing.assert_allclose(curve.accuracy, [1, 2 / 3, 1 / 2])
    assert curve.accuracy_at(0.75) == pytest.approx(2 / 3)
    assert curve.accuracy_at(1.0) == 0.5


def test_wilsons_interval_of_a_known_example() -> None:
    low, high = wilson(np.array([0.1, 1.0]), np.array([10.0, 10.0]))
    np.testing.assert_allclose(low, [0.0179, 0.7225], atol=5e-4)
    np.testing.assert_allclose(high, [0.4042, 1.0], atol=5e-4)
