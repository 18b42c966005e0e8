"""The machine that a network is trained on."""

import platform
from typing import Any

import torch

from search.training.distributed import world
from service.device import pick_precision


def tell_machine(device: torch.device) -> dict[str, Any]:
    """What a run's weights depend on besides its plan, for the card."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "torch": str(torch.__version__),
        "device": gpu or f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "precision": str(pick_precision(device)).removeprefix("torch."),
        "processes": world(),
    }


def name_machine(device: torch.device, threads: int | None = None) -> str:
    """The same in words, for whoever waits; with other threads than this process's, if given."""
    facts = tell_machine(device)
    count = threads or facts["threads"]
    words = f", {count} thread{'s' * (count > 1)}" if device.type == "cpu" else ""
    return f"{facts['device']}{words}, {facts['precision']}"
