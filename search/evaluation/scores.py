"""Figures of merit of a classifier, from its probabilities and the true labels."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.labels import LABELS

Floats = NDArray[np.float64]

FEWEST: Final = 30
"""Answers below which their accuracy says little."""

BINS: Final = 15
"""Equal confidence bins of the calibration error, as in Guo et al. (2017)."""


def count_confusion(labels: NDArray[np.int64], predicted: NDArray[np.intp]) -> NDArray[np.int64]:
    """Counts, shape (7, 7): true label by predicted label; both inputs shape (N,)."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean; nan for a single value."""
    if len(values) < 2:
        return math.nan
    return statistics.stdev(values) / math.sqrt(len(values))


def precision(confusion: NDArray[np.int64]) -> Floats:
    """Share of the answers of each class that are right, shape (7,); 0 where there is none."""
    return _share(confusion.diagonal(), confusion.sum(0))


def recall(confusion: NDArray[np.int64]) -> Floats:
    """Share of the images of each class that are found, shape (7,); 0 where there is none."""
    return _share(confusion.diagonal(), confusion.sum(1))


def f1(confusion: NDArray[np.int64]) -> Floats:
    """Harmonic mean of precision and recall over the last two axes: (..., 7, 7) to (..., 7).

    0 for a class neither present nor predicted.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _share(2 * right, confusion.sum(-1) + confusion.sum(-2))


def mean_loss(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats of (N, 7) probabilities."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


@dataclass(frozen=True)
class Interval:
    """A two-sided 95 % interval."""

    low: float
    high: float


def bootstrap(
    confusion: NDArray[np.int64], draws: int = 2000, seed: int = 0
) -> tuple[Interval, Interval]:
    """Percentile bootstrap (Efron, 1979) of accuracy and macro F1, in this order.

    Images drawn with replacement fall into the cells of the confusion matrix as a
    multinomial draw, so no image is touched.
    """
    cells = confusion.ravel() / confusion.sum()
    drawn = np.random.default_rng(seed).multinomial(confusion.sum(), cells, draws)
    matrices = drawn.reshape(draws, *confusion.shape)
    accuracy = np.trace(matrices, axis1=1, axis2=2) / confusion.sum()
    return _interval(accuracy), _interval(f1(matrices).mean(1))


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in equal bins; arrays of shape (BINS,), 0 in empty bins.

    Attributes:
        confidence: mean of the likeliest class's probability.
        accuracy: share of right answers.
        counts: images in the bin.
    """

    confidence: Floats
    accuracy: Floats
    counts: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al., 2017): mean gap weighted by counts, 0 to 1."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.counts).sum() / self.counts.sum())


def reliability(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Reliability:
    """The reliability diagram's numbers for (N, 7) probabilities."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    rows = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(rows, minlength=BINS)
    sums = [np.bincount(rows, weights, BINS) for weights in (confidence, right)]
    return Reliability(_share(sums[0], counts), _share(sums[1], counts), counts)


@dataclass(frozen=True)
class Coverage:
    """What answering only the most confident images would give, from few images to all.

    Attributes:
        threshold: least confidence answered, falling, shape (K,); equal ones count once.
        coverage: share of the images answered.
        accuracy: share of right answers among them.
    """

    threshold: Floats
    coverage: Floats
    accuracy: Floats

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy at the least coverage that is not below the given one."""
        return float(self.accuracy[np.searchsorted(self.coverage, coverage - 1e-9)])


def least_coverage(images: int) -> float:
    """The share of so many images from which accuracy against coverage is more than noise."""
    return min(1.0, max(0.01, FEWEST / images))


def cover(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Coverage:
    """Accuracy against coverage (the risk-coverage curve of El-Yaniv & Wiener, 2010)."""
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order].astype(np.float64)
    right = (probabilities.argmax(1) == labels)[order]
    last = np.append(falling[1:] != falling[:-1], True)
    taken = np.arange(1, len(labels) + 1)
    accuracy = right.cumsum() / taken
    return Coverage(falling[last], (taken / len(labels))[last], accuracy[last])


def wilson(share: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Ends of the 95 % score interval (Wilson, 1927) of shares found in so many images each."""
    square = 1.96**2
    centre = (share + square / (2 * counts)) / (1 + square / counts)
    spread = np.sqrt(share * (1 - share) / counts + square / (4 * counts**2))
    half = 1.96 * spread / (1 + square / counts)
    return centre - half, centre + half


def _share(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    return np.asarray(part / np.maximum(whole, 1), np.float64)


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))
