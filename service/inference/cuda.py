"""The network on a CUDA device: its kernels recorded once for each batch size and replayed.

The CPU launches kernels one by one more slowly than the device runs them, up to hundreds of faces.
Blocks compute in bfloat16, and near ties ask again in float32, as on CPUs that have it.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from service.device import pick_precision
from service.inference.forward import Forward
from service.inference.rounding import is_close, settle_near_ties
from service.inference.sizes import fill_up
from service.labels import LABELS
from service.log import LOG
from service.network import split_network
from service.preprocess import IMAGE_SIZE, standardize

_SWITCH: Final = Lock()


class CudaNetwork:
    """Labels as float32 gives them, nearly at the speed of bfloat16 where few are near ties.

    Args:
        network: on the device, in evaluation mode, batch norms folded, channels last; left as it
            is.
        answer: a network's logits to probabilities: takes the network and its input.
        device: of CUDA.
        max_batch_size: most images in one pass.
    """

    def __init__(
        self,
        network: nn.Module,
        answer: Callable[[Forward, Tensor], Tensor],
        device: torch.device,
        max_batch_size: int,
    ) -> None:
        def exact(images: Tensor) -> Tensor:
            with full_float32():
                return answer(network, standardize(images))

        self.sizes = pick_sizes(max_batch_size)
        self.exact = Recorded(exact, device, max_batch_size)
        self.rounded: Recorded | None = None
        if pick_precision(device) != torch.float32:
            rounded = round_blocks(network)
            if is_close(rounded, network, device):
                self.rounded = Recorded(
                    lambda images: answer(rounded, standardize(images)), device, max_batch_size
                )

    def record(self) -> None:
        """Record all batch sizes, the largest first: the smaller ones fit into its memory."""
        for size in reversed(self.sizes):
            for recorded in (self.rounded, self.exact):
                if recorded:
                    recorded.record(size)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities.

        Args:
            images: uint8, shape (N, 1, 48, 48), in the host's memory.

        Returns:
            float32, shape (N, 7), in the host's memory.
        """
        if self.rounded is None:
            return self.exact(images)
        return settle_near_ties(self.rounded(images), lambda close: self.exact(images[close]))


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    answers: Tensor


class Recorded:
    """A function of images as one launch, for the batch sizes that were recorded.

    A batch is filled up to the next such size. What has none runs kernel by kernel.

    Args:
        forward: maps uint8 (N, 1, 48, 48) to float32 (N, 7), both on the device, without waiting
            for it.
        device: of CUDA.
        max_batch_size: most images in one pass.
    """

    def __init__(
        self, forward: Callable[[Tensor], Tensor], device: torch.device, max_batch_size: int
    ) -> None:
        self.forward, self.device = forward, device
        self.sizes: tuple[int, ...] = ()
        self._graphs: dict[int, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # A model is taken up in another thread than it answers in.
        self._lock = Lock()
        shape = (max_batch_size, 1, IMAGE_SIZE, IMAGE_SIZE)
        self._sent = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._images = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._received = torch.zeros(max_batch_size, len(LABELS), pin_memory=True)

    @torch.inference_mode()
    def record(self, size: int) -> None:
        """Record one batch size; where that fails, its batches run kernel by kernel."""
        # Weights and buffers were written on another stream.
        torch.cuda.synchronize(self.device)
        try:
            with self._lock, torch.cuda.stream(self._stream):
                self._graphs[size] = self._capture(self._images[:size])
        # Of memory, most likely; whatever it is, the kernels themselves may still run.
        except RuntimeError as error:
            LOG.warning("batches of %d are not recorded (%s)", size, error)
        self.sizes = tuple(sorted(self._graphs))

    def _capture(self, images: Tensor) -> _Graph:
        # The first passes choose kernels and take workspaces, which a recording must not do.
        for _ in range(3):
            self.forward(images)
        graph = torch.cuda.CUDAGraph()
        # Another model may be answering in its own thread meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
            answers = self.forward(images)
        return _Graph(graph, answers)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """The function's value; uint8 (N, 1, 48, 48) and float32 (N, 7) in the host's memory."""
        size = len(images) + fill_up(len(images), self.sizes)
        with self._lock, torch.cuda.stream(self._stream):
            if size not in self._graphs:
                return self.forward(images.to(self.device)).cpu()
            return self._replay(images, self._graphs[size])

    def _replay(self, images: Tensor, recorded: _Graph) -> Tensor:
        count = len(images)
        # Pageable memory would be copied by way of the driver's own pinned buffer, and waited for.
        self._sent[:count] = images
        self._images[:count].copy_(self._sent[:count], non_blocking=True)
        recorded.graph.replay()
        self._received[:count].copy_(recorded.answers[:count], non_blocking=True)
        self._stream.synchronize()
        return self._received[:count].clone()


def pick_sizes(max_batch_size: int) -> Sequence[int]:
    """Batch sizes to record: powers of two, and the largest batch."""
    powers = (1 << power for power in range(max_batch_size.bit_length()))
    return sorted({*powers, max_batch_size})


def round_blocks(network: nn.Module) -> Forward:
    """The network with its blocks in bfloat16; first and last layers stay float32."""
    stem, blocks, head = split_network(network)
    rounded = copy.deepcopy(blocks).bfloat16()

    def forward(faces: Tensor) -> Tensor:
        logits: Tensor = head(rounded(stem(faces).bfloat16()).float())
        return logits

    return forward


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions in float32 proper: by default cuDNN rounds their factors to ten bits (TF32)."""
    cudnn = torch.backends.cudnn
    # What is not named would be switched off; the switch is the whole process's.
    with (
        _SWITCH,
        cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ),
    ):
        yield
