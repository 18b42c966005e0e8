"""Mixup and CutMix: two faces and their targets in one."""

import numpy as np
import torch
from torch import Tensor

from search.training.recipe import Recipe


def mix(
    images: Tensor, targets: Tensor, recipe: Recipe, draw: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in reverse order, as the recipe says.

    Args:
        images: float, shape (N, 1, H, W), in random order.
        targets: shape (N, 7), probabilities.
        recipe: `mixup` and `cutmix`; with both, a fair coin picks one for the batch.
        draw: on the host, one share a batch, so that the device is not waited for.

    Returns:
        Images and targets of the same shapes.
    """
    if not recipe.mixup and not recipe.cutmix:
        return images, targets
    if recipe.cutmix and (not recipe.mixup or draw.random() < 0.5):
        images, share = cutmix(images, draw.beta(recipe.cutmix, recipe.cutmix), draw)
    else:
        share = draw.beta(recipe.mixup, recipe.mixup)
        images = torch.lerp(images.flip(0), images, share)
    return images, torch.lerp(targets.flip(0), targets, share)


def cutmix(images: Tensor, share: float, draw: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a rectangle of about 1 - share of the area from the reversed batch (Yun et al., 2019).

    Returns:
        The images and the share of the area that is still their own.
    """
    height, width = images.shape[-2:]
    side = (1 - share) ** 0.5
    top, left = draw.integers(height), draw.integers(width)
    half_height, half_width = round(height * side / 2), round(width * side / 2)
    rows = slice(max(0, top - half_height), min(height, top + half_height))
    columns = slice(max(0, left - half_width), min(width, left + half_width))
    pasted = images.clone()
    pasted[..., rows, columns] = images.flip(0)[..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - area / (height * width)
