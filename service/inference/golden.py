"""Faces that are drawn, and what a model says of them: whether it still does is checked at load.

They are kept beside the model's card since it was published. A graph, kernel or device that
answers otherwise is found before it answers a person.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors import SafetensorError
from safetensors.numpy import load, save

from service.artifact import write_whole
from service.inference.forward import Forward, Predict
from service.log import LOG
from service.preprocess import IMAGE_SIZE, standardize

GOLDEN_FILE: Final = "golden.safetensors"
COUNT: Final = 16

TOLERANCE: Final = 0.02
"""Largest difference of a probability; bf16 on a GPU stays below it."""


class GoldenError(RuntimeError):
    """What is said of the golden faces is not what should be, or cannot be read."""


def draw_golden() -> NDArray[np.uint8]:
    """Drawn faces, uint8 (16, 48, 48): round heads whose eyes, brows and mouths differ."""
    rng = np.random.default_rng(0)
    faces = []
    for index in range(COUNT):
        image = Image.new("L", (4 * IMAGE_SIZE,) * 2, int(rng.integers(20, 120)))
        pen = ImageDraw.Draw(image)
        pen.ellipse((30, 10, 162, 182), fill=int(rng.integers(140, 230)))
        brow, bend = (int(step) for step in rng.integers(-12, 13, 2))
        for side in (70, 122):
            inner = side + (12 if side < 96 else -12)
            pen.line((2 * side - inner, 60, inner, 60 + brow), fill=30, width=6)
            pen.ellipse((side - 9, 72, side + 9, 72 + 6 + index), fill=40)
        pen.arc((66, 130 - 2 * abs(bend), 126, 130 + 2 * abs(bend)), *_half(bend), 40, width=7)
        noise = rng.normal(0, 4, (IMAGE_SIZE, IMAGE_SIZE))
        small = np.asarray(image.resize((IMAGE_SIZE,) * 2, Image.Resampling.BOX), float)
        faces.append((small + noise).clip(0, 255).astype(np.uint8))
    return np.stack(faces)


def _half(bend: int) -> tuple[int, int]:
    return (0, 180) if bend > 0 else (180, 360)


def write_golden(folder: Path, predict: Predict) -> None:
    """Keep the drawn faces and what is said of them, beside the model.

    Raises:
        OSError: the file cannot be written.
    """
    faces = draw_golden()
    write_whole(folder / GOLDEN_FILE, save({"faces": faces, "scores": predict(faces)}))


def check_golden(folder: Path, predict: Predict) -> None:
    """Ask a model about the golden faces beside it.

    Args:
        folder: of the model; one published before there were golden faces passes.
        predict: (N, 48, 48) uint8 faces to (N, 7) float32 probabilities.

    Raises:
        GoldenError: a score is off, not finite, or the file is broken.
    """
    path = folder / GOLDEN_FILE
    if not path.exists():
        LOG.warning("the model has no golden faces; publish it again to have it checked")
        return
    try:
        kept = load(path.read_bytes())
        _compare(predict(kept["faces"]), kept["scores"], TOLERANCE)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise GoldenError(f"{path}: {error}") from None


@torch.inference_mode()
def check_close(
    network: Forward, reference: Forward, device: torch.device, tolerance: float
) -> None:
    """Compare a fast network's probabilities of the drawn faces with its reference's.

    Args:
        network: takes and gives tensors on the device.
        reference: the same.
        device: theirs.
        tolerance: largest difference of a probability.

    Raises:
        GoldenError: a score is off, or not finite.
    """
    faces = standardize(torch.from_numpy(draw_golden())[:, None].to(device))
    found, wanted = (
        torch.softmax(forward(faces), 1).cpu().numpy() for forward in (network, reference)
    )
    _compare(found, wanted, tolerance)


def _compare(found: NDArray[np.float32], wanted: NDArray[np.float32], tolerance: float) -> None:
    difference = float(np.abs(found - wanted).max())
    if not difference <= tolerance:
        raise GoldenError(f"a golden face's score is off by {difference:.3g}, over {tolerance}")
