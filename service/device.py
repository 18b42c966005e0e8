"""Where to compute and in which precision; the same rule for training and serving."""

import torch


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
    # PyTorch takes cpu:0, too.
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise DeviceError(f"{name!r} is not auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise DeviceError(f"no device {name}; this machine has {count} of CUDA")
    return device


def pick_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware is faster with it, else float32; no matter how busy it is.

    GPUs are since Ampere, CPUs with AMX, and AMD's with AVX512-BF16. Intel's with that but
    without AMX, which virtual machines may hide, take twice as long as in float32 (measured on a
    Xeon, family 6, model 207).
    """
    if device.type == "cuda":
        faster = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        able = torch.cpu.get_capabilities()
        intel = "Intel" in str(able.get("cpu_name"))
        faster = bool(able.get("amx_tile") or (able.get("avx512_bf16") and not intel))
    return torch.bfloat16 if faster else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to what `pick_precision` says; off where that is float32."""
    precision = pick_precision(device)
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
