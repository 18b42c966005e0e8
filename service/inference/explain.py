"""Which parts of a face led to a label: Grad-CAM (Selvaraju et al., 2017)."""

import copy
import io
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from service.preprocess import IMAGE_SIZE, standardize

_LEAST_SIDE: Final = 6
"""Of the last features with at least this side the map is drawn; later ones tell no place."""

OVERLAY_SIDE: Final = 336


class Explainer:
    """An own copy of the network, on the CPU, that keeps what Grad-CAM needs; for one thread.

    Args:
        network: in evaluation mode; not changed.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).cpu()
        self._layer = _last_layer(self.network)

    def explain(self, face: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        """How much each place contributed to a label.

        Args:
            face: uint8, shape (48, 48).
            label: index of the label.

        Returns:
            float32, shape (48, 48), 0 to 1; all zeros where nothing did.
        """
        kept: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[0]

        hook = self._layer.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                batch = standardize(torch.from_numpy(face)[None, None])
                score = self.network(batch)[0, label]
                (slope,) = torch.autograd.grad(score, kept[0])
        finally:
            hook.remove()
        weights = slope.mean((2, 3), keepdim=True)
        heat = functional.relu((weights * kept[0].detach()).sum(1, keepdim=True))
        heat = functional.interpolate(heat, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic").clamp_min(0)
        found: NDArray[np.float32] = (heat / heat.max().clamp_min(1e-12))[0, 0].numpy()
        return found


def draw_overlay(face: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """A PNG of `OVERLAY_SIDE` pixels: the face in grey, from clear to red where it spoke.

    Args:
        face: uint8, shape (48, 48).
        heat: float, shape (48, 48), 0 to 1.
    """
    size = (OVERLAY_SIDE, OVERLAY_SIDE)
    grey = Image.fromarray(face).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    share = Image.fromarray((np.clip(heat, 0, 1) * 180).astype(np.uint8))
    red = Image.new("RGB", size, (230, 30, 30))
    grey.paste(red, mask=share.resize(size, Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    return buffer.getvalue()


def _last_layer(network: nn.Module) -> nn.Module:
    """The last module whose output still has `_LEAST_SIDE` rows."""
    found: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        if output.ndim == 4 and output.shape[2] >= _LEAST_SIDE:
            found.append(module)

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    with torch.no_grad():
        network(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    for hook in hooks:
        hook.remove()
    return found[-1]
