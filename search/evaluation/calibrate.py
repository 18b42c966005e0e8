"""Temperature and the threshold of "uncertain", fitted on validation, into the card."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from search.data.splits import check_own_validation
from search.evaluation.evaluate import Evaluation, evaluate
from search.evaluation.scores import Coverage, cover, least_coverage, reliability
from search.evaluation.summary import summarize
from service.artifact import load_artifact, update_card

TARGET_ACCURACY: Final = 0.8
"""Share of right answers wanted among those that are not "uncertain".

People agree with FER2013's labels on about 65 % (Goodfellow et al., 2013), so 80 % of right
answers asks for the clear faces only.
"""


@dataclass(frozen=True)
class Calibration:
    """What the card says about confidence.

    Attributes:
        temperature: what logits are divided by (Guo et al., 2017).
        uncertain_below: calibrated confidence, 0 to 1, below which an answer is "uncertain";
            1 where no threshold reaches the target.
        facts: where both were fitted and what they give.
    """

    temperature: float
    uncertain_below: float
    facts: dict[str, Any]


def calibrate(artifact: Path, data: Path, device: torch.device) -> Calibration:
    """Fit on validation, then write temperature, threshold and figures into the card.

    Fitted on the images that do not also stand in train, where train is there to compare:
    on those it has learnt, the network is surer and more often right than on new ones.

    Raises:
        ArtifactError: the artifact does not pass its checks.
        DataError: as `evaluate` and `check_own_validation`.
    """
    loaded = load_artifact(artifact)
    plain, mirrored = evaluate(artifact, data, "validation", device)
    check_own_validation(data, plain.faces, loaded.card)
    result = fit_calibration(plain.without_seen() or plain)
    plain, mirrored = (replace(e, temperature=result.temperature) for e in (plain, mirrored))
    metrics = summarize(plain) | {"mirrored": summarize(mirrored, brief=True)}
    facts = {
        "temperature": result.temperature,
        "uncertain_below": result.uncertain_below,
        "calibration": result.facts,
        "metrics": loaded.card.get("metrics", {}) | {"validation": metrics},
    }
    update_card(artifact, loaded, facts)
    return result


def fit_calibration(fitted: Evaluation) -> Calibration:
    """Temperature and threshold from the answers on held-out faces."""
    labels = fitted.faces.labels
    temperature = round(fit_temperature(fitted.logits, labels), 4)
    before, after = (replace(fitted, temperature=value) for value in (1.0, temperature))
    curve = cover(after.probabilities, labels)
    least = least_coverage(len(labels))
    threshold, coverage, accuracy = pick_threshold(curve, TARGET_ACCURACY, least)
    facts = {
        "split": "validation",
        "images": len(labels),
        "loss_before": before.loss,
        "loss_after": after.loss,
        "ece_before": reliability(before.probabilities, labels).error,
        "ece_after": reliability(after.probabilities, labels).error,
        "target_accuracy": TARGET_ACCURACY,
        "coverage": coverage,
        "accuracy_when_answered": accuracy,
    }
    return Calibration(temperature, threshold, facts)


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature of least cross-entropy, between 0.05 and 20.

    The loss is convex in the inverse temperature, so its slope is bisected.
    """
    values = logits.astype(np.float64) - logits.max(1, keepdims=True)
    chosen = values[np.arange(len(labels)), labels]
    low, high = 1 / 20, 20.0
    for _ in range(50):
        inverse = (low * high) ** 0.5
        weights = np.exp(inverse * values)
        expected = (weights * values).sum(1) / weights.sum(1)
        rises = (expected - chosen).mean() > 0
        low, high = (low, inverse) if rises else (inverse, high)
    return 1 / high


def pick_threshold(curve: Coverage, target: float, least: float) -> tuple[float, float, float]:
    """The threshold of the widest coverage that reaches the target accuracy, to four digits.

    Args:
        curve: accuracy against coverage.
        target: accuracy, 0 to 1.
        least: coverage, 0 to 1, below which reaching it is only luck.

    Returns:
        Threshold, coverage and accuracy, which may miss the target by the rounding; 1, 0 and 0
        where the target is out of reach, and threshold 0 where all answers together reach it.
    """
    reached = np.flatnonzero((curve.accuracy >= target) & (curve.coverage >= least))
    if not len(reached):
        return 1.0, 0.0, 0.0
    row = reached[-1]
    if row + 1 == len(curve.threshold):
        return 0.0, float(curve.coverage[row]), float(curve.accuracy[row])
    # Rounded down, so that the face which set the threshold is still answered; so may be others.
    threshold = np.floor(curve.threshold[row] * 1e4) / 1e4
    row = np.flatnonzero(curve.threshold >= threshold)[-1]
    return float(threshold), float(curve.coverage[row]), float(curve.accuracy[row])
