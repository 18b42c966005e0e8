"""A model's report: its curves, its figures on a split and its worst mistakes, as one page."""

from pathlib import Path
from typing import Any, Final

import torch

from search.data.splits import load_split
from search.errors import AbsentSplitError
from search.evaluation.evaluate import Evaluation, evaluate
from search.evaluation.scores import FEWEST
from search.evaluation.summary import summarize, summarize_classes
from search.report.artifact_figures import (
    draw_augmented,
    draw_confusion,
    draw_coverage,
    draw_curves,
    draw_mistakes,
    draw_reliability,
)
from search.report.literature import rank
from search.report.page import Picture, Table, write_page
from search.retraining.card import is_fer2013
from search.training.history import read_history
from service.artifact import HISTORY_FILE, load_artifact

UNRANKED: Final = Table(
    "Beside published results",
    (),
    (),
    "Left out: the data set has not FER2013's validation split, so these may be other faces.",
)


def write_artifact_report(
    artifact: Path, data: Path, out: Path, device: torch.device, split: str = "validation"
) -> Path:
    """Write `report.html` and its pictures into `out`; the faces on it are the data set's.

    Returns:
        The page.

    Raises:
        ArtifactError: the artifact does not pass its checks.
        DataError: the split cannot be read.
    """
    card = load_artifact(artifact).card
    plain, mirrored = evaluate(artifact, data, split, device)
    parts: list[Picture | Table] = [tabulate_figures(plain, mirrored, tell_blend(card))]
    if "seeds" in card:
        parts.append(tabulate_seeds(card["seeds"]))
    if (artifact / HISTORY_FILE).exists():
        parts += draw_curves(read_history(artifact / HISTORY_FILE))
    parts += [
        Picture("confusion", "Confusion matrix", "Rows: true label.", draw_confusion(plain)),
        Picture(
            "reliability",
            "Reliability",
            "On the diagonal, 70 % confidence means right 70 times in 100.",
            draw_reliability(plain),
        ),
        Picture(
            "coverage",
            "Accuracy against coverage",
            "What is right among the most confident share, the rest answered as uncertain; "
            f"drawn from 1 % of the images, at least {FEWEST}, on. Shaded: 95 % interval (Wilson).",
            draw_coverage(plain),
        ),
        tabulate_classes(plain),
    ]
    # Accuracy on what a network learnt from has no place beside theirs.
    if card.get("data", {}).get("name") == "FER2013" and split != "train":
        parts += rank(plain.accuracy, split, card) if is_of_fer2013(data) else [UNRANKED]
    if "robustness" in card:
        parts.append(tabulate_robustness(card["robustness"]))
    if "recipe" in card and not plain.faces.blank().all():
        parts.append(draw_augmented(plain, card["recipe"]))
    parts.append(draw_mistakes(plain))
    page = out / "report.html"
    write_page(page, f"{card.get('name', artifact.name)} on {split} of {data.name}", parts)
    return page


def is_of_fer2013(data: Path) -> bool:
    """Whether the data set is a copy of FER2013, as its validation split tells, if it has one."""
    try:
        return is_fer2013(load_split(data, "validation"))
    except AbsentSplitError:
        return False


def tell_blend(card: dict[str, Any]) -> str:
    """In words, where the weights lie that are not those of the training's end."""
    if "blend" not in card:
        return ""
    return (
        f" The weights lie {card['blend']:.0%} of the way from those that the last training "
        "started from to those that it ended at; the curves are that training's."
    )


def tabulate_figures(plain: Evaluation, mirrored: Evaluation, note: str) -> Table:
    """Accuracy, loss, macro F1 and calibration error, without and with the mirror image."""
    columns = {"plain": plain, "with mirror image": mirrored}
    if unseen := plain.without_seen():
        columns["not in train"] = unseen
    rows = []
    for name, result in columns.items():
        figures = summarize(result, brief=True)
        others = (f"{figures[key]:.4f}" for key in ("loss", "macro_f1", "ece"))
        rows.append([name, str(figures["images"]), f"{figures['accuracy']:.2%}", *others])
    header = ("", "images", "accuracy", "loss", "macro F1", "ECE")
    return Table("Figures", header, rows, f"Measured for this page.{note}")


def tabulate_seeds(facts: dict[str, Any]) -> Table:
    """Accuracy and loss of each seed of the training, and their mean, as the card has them."""
    rows = [
        [
            str(run["seed"]),
            f"{run['accuracy']:.2%}",
            f"{run['unseen_accuracy']:.2%}" if "unseen_accuracy" in run else "",
            f"{run['loss']:.4f}",
        ]
        for run in facts["runs"]
    ]
    own = [run["seed"] for run in facts["runs"]].index(facts["chosen"])
    mean, error = (100 * facts[name] for name in ("mean", "standard_error"))
    caption = (
        f"From the card, on {facts['split']}: {mean:.2f} ± {error:.2f} % (standard error). "
        "The most accurate one is this model, so that its own accuracy is a little too high."
    )
    return Table("Seeds", ("seed", "accuracy", "not in train", "loss"), rows, caption, own)


def tabulate_classes(result: Evaluation) -> Table:
    """Precision, recall and F1 of each label."""
    names = ("precision", "recall", "f1")
    rows = [
        [label, *(f"{scores[name]:.4f}" for name in names)]
        for label, scores in summarize_classes(result).items()
    ]
    return Table("Labels", ("label", "precision", "recall", "F1"), rows)


def tabulate_robustness(facts: dict[str, Any]) -> Table:
    """Accuracy under each corruption, as the card has it."""
    rows = [[name, f"{value:.2%}"] for name, value in facts["accuracy"].items()]
    caption = (
        f"From the card: {facts['images']} {facts['split']} images of its own data, corrupted."
    )
    return Table("Robustness", ("corruption", "accuracy"), rows, caption)
