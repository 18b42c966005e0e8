"""A function on the GPU recorded once and replayed: one launch in place of a thousand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

WARM_UP: Final = 3
"""Calls before the recording; libraries set themselves up and optimisers make their state."""


@dataclass(frozen=True)
class Recording:
    """A CUDA graph with the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor

    def play(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Run it on other values; the output is overwritten by the next call."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output


class Replay:
    """Calls a function on the GPU; from its fourth call on it is replayed as a CUDA graph.

    A small network's step launches more than a thousand kernels, and the GPU waits for most of
    them. Inputs of other shapes are recorded anew; only the last shapes' recording is kept.

    Args:
        function: of CUDA tensors, to one; it waits for nothing on the host, and whatever
            else it reads or changes stays in its place in memory.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self._shapes: tuple[torch.Size, ...] = ()
        self._calls = 0
        self._recording: Recording | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's output; a later call may overwrite it."""
        shapes = tuple(value.shape for value in inputs)
        if shapes != self._shapes:
            self._shapes, self._calls, self._recording = shapes, 0, None
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._call_aside(inputs)
        if self._recording is None:
            self._recording = self._record(inputs)
        return self._recording.play(inputs)

    def _call_aside(self, inputs: tuple[Tensor, ...]) -> Tensor:
        # What a recording meets must not have been made on the default stream.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            output = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return output

    def _record(self, inputs: tuple[Tensor, ...]) -> Recording:
        own = tuple(value.clone() for value in inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.function(*own)
        return Recording(graph, own, output)
