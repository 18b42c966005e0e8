"""Accuracy on corrupted faces: blur, noise, JPEG, light, tones, turns, occlusion, crops.

The kinds follow ImageNet-C (Hendrycks & Dietterich, 2019), scaled to faces of 48x48 pixels.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from search.data.splits import load_own_validation
from search.training.augment import add_noise, affine_matrices, blur, warp
from search.training.bar import bar
from search.training.inference import on_device, predict_logits
from service.artifact import load_artifact, update_card

Corruption = Callable[[Tensor, torch.Generator], Tensor]
"""Changes float images (N, 1, 48, 48), grey levels 0 to 255; results are rounded and clamped."""


def gaussian_blur(images: Tensor, _: torch.Generator, *, sigma: float) -> Tensor:
    """Gaussian blur of a standard deviation in pixels."""
    return blur(images, torch.full((len(images),), sigma, device=images.device))


def gaussian_noise(images: Tensor, generator: torch.Generator, *, sigma: float) -> Tensor:
    """Gaussian noise of a standard deviation in grey levels."""
    return add_noise(images, torch.full((len(images),), sigma, device=images.device), generator)


def compress(images: Tensor, _: torch.Generator, *, quality: int) -> Tensor:
    """Through a JPEG file of the given quality, 1 to 95."""
    results = []
    for image in images[:, 0].byte().cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        results.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(results))[:, None].to(images)


def brighten(images: Tensor, _: torch.Generator, *, factor: float) -> Tensor:
    """Multiplied grey levels; what exceeds white is lost."""
    return images * factor


def bend(images: Tensor, _: torch.Generator, *, gamma: float) -> Tensor:
    """Grey levels along a power curve; above 1 makes middle tones darker."""
    return 255 * (images / 255) ** gamma


def turn(images: Tensor, _: torch.Generator, *, degrees: float) -> Tensor:
    """Turned clockwise about the centre."""
    ones = torch.ones(len(images), device=images.device)
    shift = torch.zeros(2, len(images), device=images.device)
    return warp(images, affine_matrices(ones * degrees, ones, shift, ones), images.shape[-1])


def occlude(images: Tensor, generator: torch.Generator, *, side: int) -> Tensor:
    """A black square of a side in pixels at a random place."""
    size = images.shape[-1]
    draw = {"generator": generator, "device": images.device}
    starts = torch.randint(size - side + 1, (2, len(images), 1), **draw)  # type: ignore[call-overload]
    pixels = torch.arange(size, device=images.device)
    rows, columns = (pixels >= starts) & (pixels < starts + side)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def shrink(images: Tensor, _: torch.Generator, *, side: int) -> Tensor:
    """Down to a side in pixels and up again."""
    scale = partial(functional.interpolate, mode="bilinear", antialias=True)
    return scale(scale(images, size=(side, side)), size=images.shape[-2:])


def jitter(images: Tensor, generator: torch.Generator, *, share: float) -> Tensor:
    """A crop that is off by up to a share of the side in place and size, at random."""
    spread = torch.rand(3, len(images), generator=generator, device=images.device) * 2 - 1
    upright = torch.zeros_like(spread[0])
    matrices = affine_matrices(
        upright, 1 + share * spread[0], share * spread[1:], torch.ones_like(upright)
    )
    return warp(images, matrices, images.shape[-1])


CORRUPTIONS: Final[dict[str, Corruption]] = {
    "blur, sigma 1 pixel": partial(gaussian_blur, sigma=1.0),
    "blur, sigma 2 pixels": partial(gaussian_blur, sigma=2.0),
    "noise, sigma 10 levels": partial(gaussian_noise, sigma=10.0),
    "noise, sigma 25 levels": partial(gaussian_noise, sigma=25.0),
    "JPEG quality 90": partial(compress, quality=90),
    "JPEG quality 50": partial(compress, quality=50),
    "JPEG quality 20": partial(compress, quality=20),
    "brightness x 0.4": partial(brighten, factor=0.4),
    "brightness x 1.8": partial(brighten, factor=1.8),
    "gamma 0.5": partial(bend, gamma=0.5),
    "gamma 2": partial(bend, gamma=2.0),
    "turned -15 degrees": partial(turn, degrees=-15.0),
    "turned 15 degrees": partial(turn, degrees=15.0),
    "occluded 12x12": partial(occlude, side=12),
    "occluded 20x20": partial(occlude, side=20),
    "shrunk to 24x24": partial(shrink, side=24),
    "crop off by up to 10 %": partial(jitter, share=0.1),
    "crop off by up to 20 %": partial(jitter, share=0.2),
}


def corrupt(images: Tensor, corruption: Corruption) -> Tensor:
    """The corruption of uint8 images (N, 1, 48, 48), the same at each call."""
    generator = torch.Generator(images.device).manual_seed(0)
    return corruption(images.float(), generator).round().clamp(0, 255).byte()


def measure_robustness(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, 0 to 1, as they are (`none`) and under each of `CORRUPTIONS`.

    Args:
        network: on the device of the images, in evaluation mode.
        images: uint8, shape (N, 1, 48, 48).
        labels: int64, shape (N,), in the order of `LABELS`.
    """

    def accuracy(views: Tensor) -> float:
        return float((predict_logits(network, views).argmax(1) == labels).float().mean())

    kinds = bar(list(CORRUPTIONS.items()), "corruptions")
    return {
        "none": accuracy(images),
        **{name: accuracy(corrupt(images, corruption)) for name, corruption in kinds},
    }


def record_robustness(artifact: Path, data: Path, device: torch.device) -> dict[str, Any]:
    """Measure on the validation split and write the result into the card.

    Raises:
        ArtifactError: the artifact does not pass its checks, or cannot be written.
        DataError: as `load_own_validation`.
    """
    loaded = load_artifact(artifact)
    images, labels = on_device(load_own_validation(data, loaded.card), device)
    network = loaded.network.to(device).to(memory_format=torch.channels_last)
    accuracy = measure_robustness(network, images, labels)
    facts = {"split": "validation", "images": len(labels), "accuracy": accuracy}
    update_card(artifact, loaded, {"robustness": facts})
    return facts
