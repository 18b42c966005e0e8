"""An artifact made ready to answer: batch norm folded, channels last, warmed up."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from service.artifact import Artifact
from service.device import pick_device, pick_precision
from service.inference.bfloat16 import SIZES, compile_bfloat16
from service.inference.compiled import compiled_path, load_compiled
from service.inference.cuda import CudaNetwork
from service.inference.forward import Forward
from service.inference.rounding import settle_near_ties
from service.log import LOG
from service.preprocess import IMAGE_SIZE, standardize


class Predictor:
    """The network on its device.

    Args:
        artifact: what `load_artifact` returned; its network is changed in place.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.
        max_batch_size: most images in one forward pass.
        folder: where the model's compiled graph may lie. With it the CPU answers by what is
            fastest, else by PyTorch in float32. CUDA needs none to be fast.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: str,
        max_batch_size: int,
        folder: Path | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.max_batch_size = max_batch_size
        # No method of this object: the collector leaves what was loaded at the start alone, so
        # that a circle would keep a replaced model's memory.
        self.answer = partial(to_probabilities, artifact.temperature)
        network = fold_norms(artifact.network).to(self.device)
        self.network: Forward = network.to(memory_format=torch.channels_last)
        if folder and self.device.type == "cpu":
            path = compiled_path(folder, artifact)
            self.network = load_compiled(path, network, torch.get_num_threads()) or self.network
        self.rounded: Forward | None = None
        if folder and self.device.type == "cpu" and pick_precision(self.device) != torch.float32:
            self.rounded = compile_bfloat16(network)
        self.cuda: CudaNetwork | None = None
        if self.device.type == "cuda":
            self.cuda = CudaNetwork(network, self.answer, self.device, max_batch_size)

    def warm_up(self) -> None:
        """Run the batch sizes whose first passes are slow."""
        if self.cuda:
            self.cuda.record()
        rng = np.random.default_rng(0)
        sizes = {size for size in SIZES if size < self.max_batch_size} if self.rounded else {1}
        # The fused code is made at the second pass and laid out at the third.
        for count in sorted({*sizes, self.max_batch_size}) * 3:
            self.predict(rng.integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE), np.uint8))

    @torch.inference_mode()
    def predict(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities.

        Args:
            faces: uint8, shape (N, 48, 48).

        Returns:
            float32, shape (N, 7); each row sums to 1.

        Raises:
            torch.OutOfMemoryError: not even one image fits into the device's memory.
        """
        images = torch.from_numpy(faces)[:, None]
        parts: list[Tensor] = []
        start = 0
        while start < len(images):
            part = images[start : start + self.max_batch_size]
            try:
                parts.append(self._forward(part))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self._shrink(len(part) // 2)
                continue
            start += len(part)
        return torch.cat(parts).numpy()

    def _shrink(self, size: int) -> None:
        """Smaller batches from now on; another process may have taken the memory."""
        self.max_batch_size = size
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        LOG.warning("out of device memory: batches of %d from now on", size)

    def _forward(self, images: Tensor) -> Tensor:
        if self.cuda:
            return self.cuda(images)
        # With one channel this is the memory layout of channels_last, too.
        batch = standardize(images)
        if self.rounded is None:
            return self.answer(self.network, batch)
        answers = self.answer(self.rounded, batch)
        return settle_near_ties(answers, lambda close: self.answer(self.network, batch[close]))


def to_probabilities(temperature: float, network: Forward, batch: Tensor) -> Tensor:
    """A network's calibrated answers, float32 (N, 7), to float32 (N, 1, 48, 48)."""
    return torch.softmax(network(batch).float() / temperature, dim=1)


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold each batch norm that directly follows a convolution into it, in place.

    Convolution and norm must be neighbours in an `nn.Sequential`.
    """
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            conv, norm = module[index], module[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[index] = fuse_conv_bn_eval(conv, norm)
                module[index + 1] = nn.Identity()
    return network
