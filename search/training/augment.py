"""Random augmentation of a whole batch at once, on the device that holds it."""

import torch
from torch import Tensor
from torch.nn import functional

from search.training.recipe import Recipe
from service.preprocess import standardize

ERASED_SIDE = (0.15, 0.45)
"""Range of an erased rectangle's sides, as shares of the image's side."""

BLUR_REACH = 6
"""Pixels either way that a blur's kernel takes in: three standard deviations of the largest."""


def augment(images: Tensor, recipe: Recipe, size: int, generator: torch.Generator) -> Tensor:
    """Mirror, rotate, zoom and shift by one affine map an image, then blur, add noise and erase.

    Args:
        images: float, shape (N, 1, H, W); zero is the images' mean.
        recipe: ranges of the random draws.
        size: side of the result in pixels.
        generator: source of randomness, on the images' device.

    Returns:
        Shape (N, 1, size, size); what comes from outside an image repeats its border.
    """
    matrices = draw_matrices(len(images), recipe, generator)
    warped = warp(images, matrices, size)
    if recipe.blur:
        warped = blur(warped, draw_deviations(len(images), recipe.blur, generator))
    if recipe.noise:
        deviations = draw_deviations(len(images), recipe.noise, generator)
        warped = add_noise(warped, deviations, generator)
    return erase(warped, recipe.erase, generator)


def draw_views(images: Tensor, recipe: Recipe, size: int, generator: torch.Generator) -> Tensor:
    """Faces as a training sees them: another exposure, then `augment` of what is standardised.

    Args:
        images: uint8, grey levels 0 to 255, shape (N, 1, H, W).
        recipe: how far to go.
        size: side of the result.
        generator: source of randomness, on the images' device.

    Returns:
        Float32, shape (N, 1, size, size).
    """
    exposed = expose(images, recipe.exposure, generator)
    return augment(standardize(exposed), recipe, size, generator)


def expose(images: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Half of the images as another exposure would have made them; what exceeds white is lost.

    Args:
        images: uint8, grey levels 0 to 255, shape (N, 1, H, W).
        reach: grey levels are multiplied by 2 to a power of -reach to reach. They are coded for
            a gamma of about 2.2, so that 1 is about 2.2 of a camera's stops.
        generator: source of randomness, on the images' device.
    """
    if not reach:
        return images
    shape = (2, len(images), 1, 1, 1)
    uniform = torch.rand(shape, generator=generator, device=images.device)
    factors = torch.exp2(reach * (2 * uniform[0] - 1) * (uniform[1] < 0.5))
    return (images * factors).round().clamp(max=255).byte()


def draw_deviations(count: int, most: float, generator: torch.Generator) -> Tensor:
    """Shape (count,): zero for half of the images, uniform up to `most` for the others."""
    spread = torch.rand(count, generator=generator, device=generator.device) * 2 - 1
    return most * spread.clamp(min=0)


def draw_matrices(count: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random maps from result to source coordinates, both in -1 to 1: shape (count, 2, 3)."""
    uniform = torch.rand(5, count, generator=generator, device=generator.device)
    spread = uniform * 2 - 1
    mirror = torch.where((uniform[4] < 0.5) & recipe.mirror, -1.0, 1.0)
    return affine_matrices(
        angle=spread[0] * recipe.rotation,
        scale=1 + spread[1] * recipe.zoom,
        shift=spread[2:4] * recipe.shift,
        mirror=mirror,
    )


def affine_matrices(angle: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor) -> Tensor:
    """Maps from result to source that mirror, scale, turn and shift about the centre.

    Args:
        angle: shape (N,), degrees clockwise.
        scale: shape (N,), above 1 enlarges.
        shift: shape (2, N), right and down, share of the side.
        mirror: shape (N,), -1 mirrors left and right, 1 does not.

    Returns:
        Shape (N, 2, 3), for `torch.nn.functional.affine_grid`.
    """
    radians = torch.deg2rad(angle)
    cos, sin = radians.cos() / scale, radians.sin() / scale
    right, down = shift * 2
    across = torch.stack((cos, sin, -(cos * right + sin * down)), 1) * mirror[:, None]
    along = torch.stack((-sin, cos, sin * right - cos * down), 1)
    return torch.stack((across, along), 1)


def warp(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Sample (N, C, H, W) bilinearly through (N, 2, 3) maps at size x size points."""
    shape = [len(images), images.shape[1], size, size]
    grid = functional.affine_grid(matrices, shape, align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Gaussian blur; the border is repeated.

    Args:
        images: shape (N, 1, H, W).
        deviations: standard deviation for each image, shape (N,), 0 to 2 pixels.
    """
    offsets = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / deviations.clamp(min=1e-3)[:, None]) ** 2)
    kernels = (weights / weights.sum(1, keepdim=True))[:, None, None]
    # As channels of one image, each with a kernel of its own.
    padded = functional.pad(images, (BLUR_REACH,) * 4, mode="replicate").transpose(0, 1)
    across = functional.conv2d(padded, kernels, groups=len(images))
    along = functional.conv2d(across, kernels.transpose(2, 3), groups=len(images))
    return along.transpose(0, 1)


def add_noise(images: Tensor, deviations: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of a standard deviation for each image, shape (N,), in the images' unit."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + noise * deviations[:, None, None, None]


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Blank (to zero) one random rectangle in each image with the given probability."""
    if not probability:
        return images
    count, _, height, width = images.shape
    uniform = torch.rand(5, count, 1, generator=generator, device=images.device)
    least, most = ERASED_SIDE
    sides = least + (most - least) * uniform[:2]
    starts = uniform[2:4] * (1 - sides)
    rows = torch.arange(height, device=images.device) / height
    columns = torch.arange(width, device=images.device) / width
    in_rows = (rows >= starts[0]) & (rows < starts[0] + sides[0])
    in_columns = (columns >= starts[1]) & (columns < starts[1] + sides[1])
    hit = in_rows[:, :, None] & in_columns[:, None, :] & (uniform[4] < probability)[:, :, None]
    return images.masked_fill(hit[:, None], 0.0)
