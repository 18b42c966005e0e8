"""How much of a device's memory this process holds."""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service import metrics
from service.inference.forward import Predict
from service.inference.predictor import Predictor


def watch_memory(predictor: Predictor) -> Predict:
    """Its `predict`, which shows the memory that it holds after each batch."""
    gauge = metrics.DEVICE_MEMORY.labels(str(predictor.device))

    def predict(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = predictor.predict(faces)
        gauge.set(held_memory(predictor.device))
        return rows

    gauge.set(held_memory(predictor.device))
    return predict


def held_memory(device: torch.device) -> int:
    """Bytes that this process holds of a device's memory.

    Of a GPU's what PyTorch has reserved; of RAM what is resident, pages shared with others
    included, 0 where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
