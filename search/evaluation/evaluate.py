"""An artifact's answers on a split, whole and without the images that also stand in train."""

import csv
import hashlib
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from search.data.faces import Faces
from search.data.splits import load_split
from search.errors import AbsentSplitError
from search.evaluation.scores import count_confusion, mean_loss
from search.training.inference import on_device, predict_logits
from service.artifact import load_artifact
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE


@dataclass(frozen=True)
class Evaluation:
    """A network's answers on a split.

    Attributes:
        faces: the split.
        logits: float32, shape (N, 7).
        temperature: what the logits are divided by.
        unseen: bool, shape (N,): the image does not also stand in train; None where the
            split is train itself or train is absent.
    """

    faces: Faces
    logits: NDArray[np.float32]
    temperature: float = 1.0
    unseen: NDArray[np.bool_] | None = None

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Calibrated probabilities, shape (N, 7)."""
        logits = torch.from_numpy(self.logits) / self.temperature
        probabilities: NDArray[np.float32] = functional.softmax(logits, 1).numpy()
        return probabilities

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """Index of the likeliest label, shape (N,)."""
        labels: NDArray[np.intp] = self.logits.argmax(1)
        return labels

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts, shape (7, 7): true label by predicted label."""
        return count_confusion(self.faces.labels, self.predicted)

    @property
    def accuracy(self) -> float:
        """Share of right labels, 0 to 1."""
        return float((self.predicted == self.faces.labels).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return mean_loss(self.probabilities, self.faces.labels)

    def without_seen(self) -> "Evaluation | None":
        """The unseen images only; None where they are not known or none."""
        if self.unseen is None or not self.unseen.any():
            return None
        faces, logits = self.faces.select(self.unseen), self.logits[self.unseen]
        return replace(self, faces=faces, logits=logits, unseen=None)


def evaluate(
    artifact: Path, data: Path, split: str, device: torch.device
) -> tuple[Evaluation, Evaluation]:
    """Run an artifact over a split, without and with the mirror image's logits averaged in.

    Raises:
        ArtifactError: the artifact does not pass its checks.
        DataError: the split cannot be read, or train is there and malformed.
    """
    loaded = load_artifact(artifact)
    faces = load_split(data, split)
    unseen = None if split == "train" else find_unseen(faces, data)
    network = loaded.network.to(device).to(memory_format=torch.channels_last)
    images, _ = on_device(faces, device)
    logits = predict_logits(network, images)
    both = (logits + predict_logits(network, images.flip(3))) / 2
    plain = Evaluation(faces, logits.cpu().numpy(), loaded.temperature, unseen)
    return plain, replace(plain, logits=both.cpu().numpy())


def find_unseen(faces: Faces, data: Path) -> NDArray[np.bool_] | None:
    """Which faces do not stand in the train split to the byte; None where that is absent."""
    try:
        return faces.absent_from(load_split(data, "train"))
    except AbsentSplitError:
        return None


@dataclass(frozen=True)
class Timing:
    """Seconds an image over several forward passes.

    Attributes:
        median: of the passes.
        low: a quarter of them were faster.
        high: a quarter of them were slower.
        passes: how many were measured.
    """

    median: float
    low: float
    high: float
    passes: int


@torch.inference_mode()
def time_per_image(
    network: nn.Module, device: torch.device, batch_size: int, seconds: float = 1.5
) -> Timing:
    """Time forward passes as in `predict_logits` for some seconds, but at least seven of them."""
    images = torch.zeros(batch_size, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8, device=device)
    network = network.to(device).to(memory_format=torch.channels_last)
    predict_logits(network, images, batch_size).cpu()
    took: list[float] = []
    until = time.perf_counter() + seconds
    while len(took) < 7 or time.perf_counter() < until:
        started = time.perf_counter()
        predict_logits(network, images, batch_size).cpu()
        took.append(time.perf_counter() - started)
    low, median, high = (float(q) / batch_size for q in np.percentile(took, (25, 50, 75)))
    return Timing(median, low, high, len(took))


def write_predictions(path: Path, result: Evaluation) -> None:
    """One csv row an image: SHA-256 of its pixels, true and predicted label, probabilities."""
    rows = zip(
        result.faces.pixels(),
        result.faces.labels,
        result.predicted,
        result.probabilities,
        strict=True,
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pixels_sha256", "label", "predicted", *LABELS])
        for pixels, label, predicted, probabilities in rows:
            name = hashlib.sha256(pixels).hexdigest()
            scores = [f"{p:.6f}" for p in probabilities]
            writer.writerow([name, LABELS[label], LABELS[predicted], *scores])
