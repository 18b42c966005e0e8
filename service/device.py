"""Where to compute and in which precision; the same rule for training and serving."""

import time
from functools import cache
from typing import Final

import torch

SIDE: Final = 256
TRIES: Final = 10
"""Size and number of the matrix products that a CPU is timed by: about 10 ms in all."""


class DeviceError(ValueError):
    """There is no such device here; the message names it."""


def pick_device(name: str) -> torch.device:
    """The named device; `auto` is CUDA where there is one, else the CPU.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        DeviceError: the name is another one, or this machine has no such CUDA device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"{name!r} is not auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name!r} is not auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise DeviceError(f"no device {name}; this machine has {count} of CUDA")
    return device


def pick_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware is faster with it (GPUs since Ampere, most CPUs that have it)."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        able = torch.cpu.get_capabilities()
        native = bool(able.get("amx_tile") or able.get("avx512_bf16")) and gains_by_rounding()
    return torch.bfloat16 if native else torch.float32


@cache
def gains_by_rounding() -> bool:
    """Whether this CPU multiplies matrices faster in bfloat16 than in float32.

    That it has the instructions does not say so: with AVX512-BF16 but without AMX, which virtual
    machines may hide, an Intel Xeon takes twice as long as in float32.
    """
    return time_product(torch.bfloat16) < time_product(torch.float32)


def time_product(dtype: torch.dtype) -> float:
    """Seconds of a matrix product, the shortest of `TRIES`, so that other work hardly counts."""
    # Nothing random, which a training's draws would depend on.
    left, right = torch.ones(2, SIDE, SIDE, dtype=dtype)
    spent = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        left @ right
        spent.append(time.perf_counter() - begun)
    return min(spent)


def reduced(device: torch.device) -> torch.autocast:
    """Autocast to what `pick_precision` says; off where that is float32."""
    precision = pick_precision(device)
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
