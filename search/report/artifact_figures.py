"""Pictures of a model's report."""

from typing import Any, Final

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from search.data.faces import Faces
from search.evaluation.evaluate import Evaluation
from search.evaluation.scores import FEWEST, cover, least_coverage, reliability, wilson
from search.report.faces_figure import draw_faces
from search.report.page import Picture
from search.training.augment import draw_views
from search.training.recipe import recipe_from_dict
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE

MISTAKES: Final = 32
"""Most confident mistakes on the page."""

AUGMENTED: Final = 4
"""Faces whose augmented views are shown."""


def draw_curves(history: dict[str, list[float]]) -> list[Picture]:
    """Accuracy and loss over the epochs, as the paper's figures 4 and 5."""
    pictures = []
    for name in ("accuracy", "loss"):
        figure = Figure(figsize=(8, 4))
        axis = figure.subplots()
        # A single epoch makes no line.
        marker = "o" if len(history["epoch"]) == 1 else ""
        axis.plot(history["epoch"], history[name], marker=marker, label="train, augmented")
        validation = history[f"validation_{name}"]
        axis.plot(history["epoch"], validation, marker=marker, label="validation")
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
        axis.legend()
        caption = (
            "From the model's training, on its own data. "
            "Train is measured while learning, on images and targets as the recipe changes them; "
            "validation with the averaged weights, where it averages."
        )
        pictures.append(Picture(name, f"{name.capitalize()} over epochs", caption, figure))
    return pictures


def draw_confusion(result: Evaluation) -> Figure:
    """Shares of each true label, with the counts written in."""
    counts = result.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(LABELS)), LABELS, rotation=45)
    axis.set_yticks(range(len(LABELS)), LABELS)
    axis.set(xlabel="predicted", ylabel="true")
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.5 else "black"
        axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    return figure


def draw_reliability(result: Evaluation) -> Figure:
    """Accuracy against confidence in equal bins, over the bins' sizes."""
    found = reliability(result.probabilities, result.faces.labels)
    centres = (np.arange(len(found.counts)) + 0.5) / len(found.counts)
    figure = Figure(figsize=(6, 6))
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    above.bar(centres, found.accuracy, 0.9 / len(centres))
    above.plot((0, 1), (0, 1), "k--", linewidth=1)
    above.set(ylabel="accuracy", title=f"expected calibration error {found.error:.3f}")
    below.bar(centres, found.counts, 0.9 / len(centres), color="grey")
    below.set(xlabel="confidence", ylabel="images")
    return figure


def draw_coverage(result: Evaluation) -> Figure:
    """Accuracy among the answered against their share."""
    curve = cover(result.probabilities, result.faces.labels)
    enough = curve.coverage >= least_coverage(len(result.faces))
    share, accuracy = curve.coverage[enough], curve.accuracy[enough]
    figure = Figure(figsize=(8, 4))
    axis = figure.subplots()
    # A line through a single answer would not be seen.
    marker = "." if enough.sum() < FEWEST else ""
    axis.plot(share, accuracy, marker=marker)
    axis.fill_between(share, *wilson(accuracy, share * len(result.faces)), alpha=0.2)
    axis.set(xlabel="share answered", ylabel="accuracy", xlim=(0, 1))
    axis.grid(alpha=0.3)
    return figure


def draw_mistakes(result: Evaluation) -> Picture:
    """The wrong answers of the highest confidence."""
    wrong = np.flatnonzero(result.predicted != result.faces.labels)
    confidence = result.probabilities.max(1)
    worst = wrong[np.argsort(-confidence[wrong])][:MISTAKES]
    words = []
    for row in worst:
        true, answer = LABELS[result.faces.labels[row]], LABELS[result.predicted[row]]
        words.append(f"{true}?\n{answer} {confidence[row]:.0%}")
    caption = "Above: the data set's label. Below: the answer. Many of these labels are wrong."
    figure = draw_faces(result.faces.images[worst], words)
    return Picture("mistakes", "Most confident mistakes", caption, figure)


def draw_augmented(result: Evaluation, recipe: dict[str, Any]) -> Picture:
    """Faces as the training saw such, under the recipe on the card; one must not be blank."""
    faces = result.faces.select(np.repeat(pick_examples(result.faces), 8))
    images = torch.from_numpy(faces.images)[:, None]
    generator = torch.Generator().manual_seed(0)
    views = draw_views(images, recipe_from_dict(recipe), IMAGE_SIZE, generator)[:, 0].numpy()
    low, high = views.min((1, 2), keepdims=True), views.max((1, 2), keepdims=True)
    grey = (views - low) / np.maximum(high - low, 1e-6) * 255
    words = [LABELS[label] for label in faces.labels]
    caption = "Each row: one face in eight random views."
    return Picture("augmented", "Augmentation", caption, draw_faces(grey, words))


def pick_examples(faces: Faces) -> list[int]:
    """Rows of faces that are not blank, of different labels; at most `AUGMENTED`."""
    clear = np.flatnonzero(~faces.blank())
    rows = [clear[faces.labels[clear] == label] for label in range(len(LABELS))]
    # The middle one: pixels order a label's faces, so that the first and last are extreme.
    return [int(own[len(own) // 2]) for own in rows if len(own)][:AUGMENTED]
