"""Memory: kept for the next batch, and run out of."""

import ctypes
from typing import Final

import torch

_TRIM_THRESHOLD: Final = -1
_MMAP_MAX: Final = -4
"""Names of glibc's mallopt(3)."""

_NO_MEMORY: Final = ("can't allocate memory", "not enough memory", "ALLOC_FAILED", "out of memory")
"""What stands in PyTorch's errors of a CPU on Linux and Windows, of CUDA's libraries and CUDA."""


def keep_freed_memory() -> bool:
    """Have this process reuse large blocks rather than return them to the system; for good.

    glibc maps each block over 32 MiB anew, and the system clears its pages: with the paper's
    first layers a third of the time of a training step on two cores.

    Returns:
        Whether the C library can do this.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(set_option(_MMAP_MAX, 0) and set_option(_TRIM_THRESHOLD, 2**31 - 1))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the GPU or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _NO_MEMORY)
