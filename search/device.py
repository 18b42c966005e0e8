"""Where to compute and in which precision."""

import torch

from search.errors import TrainingError


def pick_device(name: str = "auto") -> torch.device:
    """The named device; `auto` is CUDA where there is one, else the CPU.

    Raises:
        TrainingError: no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    there += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name not in there:
        raise TrainingError(f"no device {name!r} here, expected auto or one of {', '.join(there)}")
    return torch.device(name)


def pick_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster (CUDA, CPUs with AMX), else float32."""
    if device.type == "cuda" or torch.cpu.get_capabilities().get("amx_tile", False):
        return torch.bfloat16
    return torch.float32
