"""An artifact's figures on a split, whole and without the images that also stand in train."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from search.data import Faces, load_split
from search.errors import DataError
from search.train import on_device, predict_logits
from service.artifact import load_artifact
from service.labels import LABELS


@dataclass(frozen=True)
class Evaluation:
    """Predictions on a split.

    Attributes:
        faces: the split.
        probabilities: float32, shape (N, 7).
        unseen: bool, shape (N,): the image does not also stand in train.
    """

    faces: Faces
    probabilities: NDArray[np.float32]
    unseen: NDArray[np.bool_]

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Index of the likeliest label, shape (N,)."""
        labels: NDArray[np.intp] = self.probabilities.argmax(1)
        return labels

    def accuracy(self, rows: NDArray[np.bool_] | None = None) -> float:
        """Share of right labels, 0 to 1, over the rows or all."""
        right = self.predicted == self.faces.labels
        return float(right.mean() if rows is None else right[rows].mean())

    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        chosen = self.probabilities[np.arange(len(self.faces)), self.faces.labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    def confusion(self) -> NDArray[np.int64]:
        """Counts, shape (7, 7): true label by predicted label."""
        counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
        np.add.at(counts, (self.faces.labels, self.predicted), 1)
        return counts

    def f1(self) -> NDArray[np.float64]:
        """F1 of each class, shape (7,); 0 for a class neither present nor predicted."""
        counts = self.confusion()
        total = counts.sum(0) + counts.sum(1)
        scores: NDArray[np.float64] = 2 * counts.diagonal() / np.maximum(total, 1)
        return scores


def evaluate(artifact: Path, data: Path, split: str, device: torch.device) -> Evaluation:
    """Run an artifact over a split.

    Raises:
        ArtifactError: the artifact does not pass its checks.
        DataError: the split cannot be read.
    """
    loaded = load_artifact(artifact)
    faces = load_split(data, split)
    network = loaded.network.to(device).to(memory_format=torch.channels_last)
    images, _ = on_device(faces, device)
    logits = predict_logits(network, images) / loaded.card["temperature"]
    probabilities = functional.softmax(logits, 1).cpu().numpy()
    return Evaluation(faces, probabilities, find_unseen(faces, data))


def find_unseen(faces: Faces, data: Path) -> NDArray[np.bool_]:
    """Which faces do not stand in the train split to the byte; all, where that is absent."""
    try:
        seen = set(load_split(data, "train").pixels())
    except DataError:
        seen = set()
    return np.array([pixels not in seen for pixels in faces.pixels()])


def format_evaluation(result: Evaluation) -> str:
    """The figures as text."""
    confusion = result.confusion()
    lines = [
        f"images             {len(result.faces)}",
        f"accuracy           {result.accuracy():.4f}",
        f"loss               {result.loss():.4f}",
        f"macro F1           {result.f1().mean():.4f}",
        f"not also in train  {result.accuracy(result.unseen):.4f} of {result.unseen.sum()} images",
        "",
        f"{'true, predicted':>16} " + " ".join(f"{label:>8}" for label in LABELS) + "       F1",
    ]
    for label, row, f1 in zip(LABELS, confusion, result.f1(), strict=True):
        lines.append(f"{label:>16} " + " ".join(f"{count:8d}" for count in row) + f" {f1:8.4f}")
    return "\n".join(lines)


def write_predictions(path: Path, result: Evaluation) -> None:
    """One csv row an image: SHA-256 of its pixels, true and predicted label, probabilities."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pixels_sha256", "label", "predicted", *LABELS])
        rows = zip(result.faces.pixels(), result.faces.labels, result.probabilities, strict=True)
        for pixels, label, probabilities in rows:
            name = hashlib.sha256(pixels).hexdigest()
            scores = [f"{p:.6f}" for p in probabilities]
            writer.writerow([name, LABELS[label], LABELS[probabilities.argmax()], *scores])
