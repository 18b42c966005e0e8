"""The service whose network fails for good in the worker whose number stands in a file."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.app import FacialEmotion
from service.inference.batching import Batcher

__all__ = ["FacialEmotion"]

PREDICT = Batcher._predict


def predict_or_fail(batcher: Batcher, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stands for a GPU that is lost to its process."""
    if Path(os.environ["FAILING"]).read_text() == str(os.getpid()):
        raise RuntimeError("out of order")
    return PREDICT(batcher, faces)


Batcher._predict = predict_or_fail  # type: ignore[method-assign, assignment]
