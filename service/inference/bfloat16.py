"""The network's blocks in bfloat16, for CPUs that are faster with it (`device.pick_precision`).

First and last layers stay float32, since rounded pixels change labels. Near ties the predictor
asks again in float32 (`python -m benchmarks.network --data fer2013` compares all answers).
"""

import copy
import warnings
from typing import Any, Final

import torch
from torch import Tensor, nn

from service.inference.forward import Forward
from service.inference.rounding import is_close
from service.inference.sizes import fill_up
from service.log import LOG
from service.network import split_network
from service.preprocess import IMAGE_SIZE

SIZES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
"""Batch sizes that code is made for: a new size costs its first callers a tenth of a second.

More faces go in blocks of the last size, whose features a core's cache holds: 64 at once take a
third longer (measured on Zen 5 with 1 MiB of cache a core).
"""


def compile_bfloat16(network: nn.Module) -> Forward | None:
    """The network with its blocks fused in bfloat16; None where that cannot be trusted.

    Args:
        network: in evaluation mode, batch norms folded, channels last; left as it is.
    """
    try:
        forward = _compile(network)
        trusted = is_close(forward, network, torch.device("cpu"))
    # TorchScript is on its way out of PyTorch; float32 can answer.
    except Exception as error:
        LOG.warning("no network in bfloat16 (%s); float32 answers, more slowly", error)
        return None
    return forward if trusted else None


def _compile(network: nn.Module) -> Forward:
    stem, blocks, head = split_network(network)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.enable_onednn_fusion(True)
        example = stem(torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE)).bfloat16()
        traced = torch.jit.trace(copy.deepcopy(blocks).bfloat16(), example)  # type: ignore[no-untyped-call]
        fused = _take_out(torch.jit.freeze(traced))

    def forward(faces: Tensor) -> Tensor:
        return torch.cat([look(block) for block in torch.split(faces, SIZES[-1])])

    def look(faces: Tensor) -> Tensor:
        count = len(faces)
        padded = nn.functional.pad(faces, (0,) * 7 + (fill_up(count, SIZES),))
        logits: Tensor = head(fused(stem(padded).bfloat16()).float())
        return logits[:count]

    return forward


def _take_out(module: torch.jit.ScriptModule) -> Forward:
    """A frozen module as a function that is freed with the last reference to it.

    TorchScript keeps the classes of all modules, with their fused kernels, for the process's
    life: each model that is taken up would cost 55 MB for good.
    """
    graph: Any = module.graph.copy()
    # The module itself, of which nothing is left after freezing.
    graph.eraseInput(0)
    function: Forward = torch._C._create_function_from_graph("blocks", graph)
    torch.jit._state._clear_class_state()
    torch._C._jit_clear_class_registry()
    return function
