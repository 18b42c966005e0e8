"""Where figures come from."""

import os
import platform

import torch

from search.training.plan import current_commit


def tell_provenance(device: torch.device | None = None) -> dict[str, str]:
    """The machine, by its GPU where that is the device, and the commit of this code."""
    if device is not None and device.type == "cuda":
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f"{os.cpu_count()} cores, {platform.machine()}"
    return {"machine": machine, "commit": current_commit()}
