"""An evaluation's figures: as facts for the card and as text."""

from dataclasses import replace
from typing import Any

from search.evaluation.evaluate import Evaluation
from search.evaluation.scores import bootstrap, cover, f1, precision, recall, reliability
from service.labels import LABELS

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the images answered that the text shows."""


def summarize(result: Evaluation, brief: bool = False) -> dict[str, Any]:
    """JSON-ready figures; intervals are 95 % bootstrap, shares are 0 to 1, loss is in nats.

    Args:
        result: answers on a split.
        brief: leave out what is told by class, and the figures without images seen in train.
    """
    accuracy, macro = bootstrap(result.confusion)
    scores = f1(result.confusion)
    figures: dict[str, Any] = {
        "images": len(result.faces),
        "accuracy": result.accuracy,
        "accuracy_interval": [accuracy.low, accuracy.high],
        "loss": result.loss,
        "macro_f1": float(scores.mean()),
        "macro_f1_interval": [macro.low, macro.high],
        "worst_class": LABELS[scores.argmin()],
        "worst_class_f1": float(scores.min()),
        "ece": reliability(result.probabilities, result.faces.labels).error,
    }
    if brief:
        return figures
    figures["classes"] = summarize_classes(result)
    figures["confusion"] = result.confusion.tolist()
    unseen = result.without_seen()
    if unseen:
        figures["not_in_train"] = summarize(unseen, brief=True)
    return figures


def summarize_classes(result: Evaluation) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of images of each label."""
    confusion = result.confusion
    columns = zip(precision(confusion), recall(confusion), f1(confusion), strict=True)
    return {
        label: {"precision": p, "recall": r, "f1": f, "images": int(count)}
        for label, (p, r, f), count in zip(LABELS, columns, confusion.sum(1), strict=True)
    }


def format_evaluation(plain: Evaluation, mirrored: Evaluation) -> str:
    """All figures as text."""
    blocks = [format_figures(plain, mirrored), format_classes(plain), format_coverage(plain)]
    return "\n\n".join(blocks)


def format_figures(plain: Evaluation, mirrored: Evaluation) -> str:
    """One line a figure; columns without and with the mirror image, then without images seen."""
    columns = {"plain": plain, "with mirror": mirrored}
    unseen = {"not in train": plain.without_seen(), "and mirror": mirrored.without_seen()}
    columns |= {name: result for name, result in unseen.items() if result}
    figures = [summarize(result, brief=True) for result in columns.values()]
    raw = [replace(result, temperature=1.0) for result in columns.values()]
    errors = [reliability(result.probabilities, result.faces.labels).error for result in raw]
    rows = [
        ("", list(columns)),
        ("images", [str(f["images"]) for f in figures]),
        ("accuracy", [f"{f['accuracy']:.4f}" for f in figures]),
        ("  95 % interval", [_range(f["accuracy_interval"]) for f in figures]),
        ("loss", [f"{f['loss']:.4f}" for f in figures]),
        ("macro F1", [f"{f['macro_f1']:.4f}" for f in figures]),
        ("  95 % interval", [_range(f["macro_f1_interval"]) for f in figures]),
        ("worst class", [f["worst_class"] for f in figures]),
        ("  its F1", [f"{f['worst_class_f1']:.4f}" for f in figures]),
        ("ECE, temperature 1", [f"{error:.4f}" for error in errors]),
        (f"ECE, temperature {plain.temperature:g}", [f"{f['ece']:.4f}" for f in figures]),
    ]
    return "\n".join(f"{name:<23}" + "".join(f"{v:>16}" for v in row) for name, row in rows)


def format_classes(result: Evaluation) -> str:
    """The confusion matrix, with precision, recall and F1 of each class."""
    heads = (*LABELS, "precision", "recall", "F1")
    lines = [f"{'true, predicted':>16}" + "".join(f" {head:>9}" for head in heads)]
    for (label, scores), row in zip(
        summarize_classes(result).items(), result.confusion, strict=True
    ):
        shares = "".join(f" {scores[name]:9.4f}" for name in ("precision", "recall", "f1"))
        lines.append(f"{label:>16}" + "".join(f" {count:9d}" for count in row) + shares)
    return "\n".join(lines)


def format_coverage(result: Evaluation) -> str:
    """Accuracy where only the most confident share is answered."""
    curve = cover(result.probabilities, result.faces.labels)
    shares = "".join(f" {share:>6.0%}" for share in COVERAGES)
    accuracies = "".join(f" {curve.accuracy_at(share):6.4f}" for share in COVERAGES)
    return f"{'answered':<16}{shares}\n{'accuracy':<16}{accuracies}"


def _range(interval: list[float]) -> str:
    return f"{interval[0]:.4f}-{interval[1]:.4f}"
