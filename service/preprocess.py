"""From stored pixels to network input: the only place that scales or centres a pixel."""

from typing import Final

import torch
from torch import Tensor

IMAGE_SIZE: Final = 48
"""Side of a face in pixels, fixed by FER2013."""

_FLOOR: Final = 4 / 255
"""Least contrast (standard deviation) to divide by, so that a flat image stays near zero."""


def standardize(images: Tensor) -> Tensor:
    """Centre every image on its own mean and divide it by its own standard deviation.

    A change of brightness or of contrast thus leaves the input as it was.

    Args:
        images: uint8, shape (N, 1, H, W), grey levels 0 to 255.

    Returns:
        float32, the same shape, mean 0 and standard deviation 1 for each image;
        an image of one colour becomes zeros.

    Raises:
        TypeError: the images are not uint8.
        ValueError: the shape is not (N, 1, H, W).
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must have shape (N, 1, H, W), not {tuple(images.shape)}")
    pixels = images.float() / 255
    deviation, mean = torch.std_mean(pixels, dim=(1, 2, 3), correction=0, keepdim=True)
    return (pixels - mean) / deviation.clamp_min(_FLOOR)
