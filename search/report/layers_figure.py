"""A network drawn layer by layer, as the paper's figure 3."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import nn

from service.network import NetworkConfig, count_parameters, sketch_network
from service.preprocess import IMAGE_SIZE

SILENT = (nn.Identity, nn.Flatten)
"""Layers that change nothing worth a box; a dropout of 0 is another."""


@dataclass(frozen=True)
class Layer:
    """One box.

    Attributes:
        title: kind and settings.
        shape: of its output without the batch.
        parameters: weights and running statistics.
    """

    title: str
    shape: tuple[int, ...]
    parameters: int


def list_layers(config: NetworkConfig) -> list[Layer]:
    """The layers in the order of a forward pass, blocks as one layer."""
    shapes: dict[int, tuple[int, ...]] = {}
    network = sketch_network(config).eval()
    leaves = list(_leaves(network))
    for leaf in leaves:
        leaf.register_forward_hook(
            lambda module, _, output: shapes.update({id(module): tuple(output.shape[1:])})
        )
    with torch.no_grad():
        network(torch.empty(1, 1, IMAGE_SIZE, IMAGE_SIZE, device="meta"))
    return [Layer(_title(leaf), shapes[id(leaf)], count_parameters(leaf)) for leaf in leaves]


def draw_layers(config: NetworkConfig) -> Figure:
    """A row of boxes from the image to the seven labels; width falls with the resolution."""
    layers = list_layers(config)
    figure = Figure(figsize=(8, 0.34 * len(layers) + 0.4))
    axis = figure.subplots()
    kinds = {layer.title.split()[0] for layer in layers}
    colours = {kind: f"C{index % 10}" for index, kind in enumerate(sorted(kinds))}
    for row, layer in enumerate(layers):
        side = layer.shape[1] if len(layer.shape) == 3 else 1
        width = 0.3 + 0.7 * side / IMAGE_SIZE
        colour = colours[layer.title.split()[0]]
        axis.barh(row, width, 0.8, left=(1 - width) / 2, color=colour, alpha=0.35)
        axis.text(0.5, row, layer.title, ha="center", va="center", fontsize=9)
        size = " x ".join(map(str, layer.shape))
        axis.text(1.03, row, size, va="center", fontsize=9)
        if layer.parameters:
            words = f"{layer.parameters:,} parameters"
            axis.text(1.3, row, words, va="center", fontsize=9)
    axis.set(xlim=(0, 1.7), ylim=(len(layers) - 0.4, -0.6))
    axis.axis("off")
    return figure


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from _leaves(child)
        elif not _is_silent(child):
            yield child


def _is_silent(layer: nn.Module) -> bool:
    # Dropout's probability, and how far faces are softened.
    settings = (getattr(layer, name, None) for name in ("p", "amount"))
    return isinstance(layer, SILENT) or 0 in settings


def _title(layer: nn.Module) -> str:
    kind = type(layer).__name__.strip("_")
    match layer:
        case nn.Conv2d():
            return f"{kind} {layer.kernel_size[0]}x{layer.kernel_size[1]}, {layer.out_channels}"
        case nn.MaxPool2d():
            return f"{kind} {layer.kernel_size}x{layer.kernel_size}"
        case nn.Linear():
            return f"{kind} {layer.out_features}"
        case nn.Dropout():
            return f"{kind} {layer.p:g}"
        case nn.AdaptiveAvgPool2d():
            # Its own name is wider than its box.
            return "Average pool"
    return kind
