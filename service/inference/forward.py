"""The two kinds of function that answer for faces."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Forward = Callable[[Tensor], Tensor]
"""A network's forward pass: float32 (N, 1, 48, 48), standardized, to logits, float32 (N, 7)."""

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A model's answers: uint8 faces (N, 48, 48) to probabilities, float32 (N, 7)."""
