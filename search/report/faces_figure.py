"""Faces in a grid, each with a line of words."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray


def draw_faces(images: NDArray[Any], words: Sequence[str], columns: int = 8) -> Figure:
    """Draw grey images (N, H, W), levels 0 to 255, with N titles; N may be 0."""
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.4 * columns, 1.7 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, words, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=8)
    return figure
