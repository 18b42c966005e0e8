"""What the peers share: the network, the preprocessing and the answer."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from service.artifact import load_artifact
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE, standardize

ARTIFACT = Path(os.environ.get("BENCHMARK_ARTIFACT", "models/compact"))


def load_network() -> nn.Module:
    """The network, one thread a process, as each of them runs one process a core."""
    torch.set_num_threads(1)
    return load_artifact(ARTIFACT).network


def to_array(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An encoded image as uint8 (48, 48)."""
    return to_grey(Image.open(io.BytesIO(content)))


def to_grey(image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An image as uint8 (48, 48)."""
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.array(image.convert("L").resize(size, Image.Resampling.BILINEAR))


@torch.inference_mode()
def predict(network: nn.Module, faces: list[Any]) -> list[dict[str, Any]]:
    """An answer for each uint8 (48, 48) face."""
    images = torch.from_numpy(np.stack(faces))[:, None]
    rows = torch.softmax(network(standardize(images)), 1)
    return [
        {"label": LABELS[int(row.argmax())], "scores": dict(zip(LABELS, row.tolist(), strict=True))}
        for row in rows
    ]
