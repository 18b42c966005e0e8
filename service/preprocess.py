"""From stored pixels to network input: the same in training and serving."""

from typing import Final

import torch
from torch import Tensor

IMAGE_SIZE: Final = 48
"""Side of a face in pixels, fixed by FER2013."""

LEVELS: Final = 256
"""Grey levels of a uint8 image."""

STEEPEST: Final = 6.0
"""Most by which equalisation widens a grey level, so that the noise of a flat area stays small."""

_FLOOR: Final = 4 / 255
"""Contrast (standard deviation) below which an image fades to zero."""


def standardize(images: Tensor) -> Tensor:
    """Equalise every image, centre it on its mean and divide it by its standard deviation.

    Light, exposure and tone curve of a photograph thus hardly change the input.

    Args:
        images: uint8, shape (N, 1, H, W), grey levels 0 to 255.

    Returns:
        float32, the same shape, mean 0 and standard deviation 1 for each image; less deviation
        for an image of hardly any contrast, and zeros for one of a single colour.

    Raises:
        TypeError: the images are not uint8.
        ValueError: the shape is not (N, 1, H, W).
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 4 or images.shape[1] != 1:
        raise ValueError(f"images must have shape (N, 1, H, W), not {tuple(images.shape)}")
    contrast = images.float().std(dim=(1, 2, 3), correction=0, keepdim=True) / 255
    pixels = equalize(images)
    deviation, mean = torch.std_mean(pixels, dim=(1, 2, 3), correction=0, keepdim=True)
    fade = (contrast / _FLOOR).clamp_max(1.0)
    return (pixels - mean) / deviation.clamp_min(_FLOOR) * fade


def equalize(images: Tensor) -> Tensor:
    """Contrast-limited histogram equalisation of every image (Zuiderveld, 1994, without tiles).

    The copy of FER2013 that the models learn from was equalised; other faces were not.

    Args:
        images: uint8, shape (N, 1, H, W).

    Returns:
        float32, the same shape, 0 to 1: each pixel's rank among the image's grey levels.
    """
    levels = images.flatten(1).long()
    counts = torch.zeros(len(images), LEVELS, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float32))
    shares = counts / levels.shape[1]
    limit = STEEPEST / LEVELS
    excess = (shares - limit).clamp_min(0).sum(1, keepdim=True)
    shares = shares.clamp_max(limit) + excess / LEVELS
    ranks = shares.cumsum(1) - shares / 2
    return ranks.gather(1, levels).view_as(images)
