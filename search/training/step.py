"""One update of the weights."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from search.training.distributed import world
from search.training.plan import Run
from search.training.replay import Replay
from service.device import autocast

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes faces, labels and targets of a batch; see `train_step`."""


def make_step(run: Run) -> Step:
    """`train_step` of a run; on a single GPU as a CUDA graph."""
    device = next(run.network.parameters()).device
    step = partial(train_step, run)
    if device.type != "cuda" or world() > 1:
        return step
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            # A graph would keep a number as it was when recorded.
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
            group["capturable"] = True
    return Replay(step)


def train_step(run: Run, batch: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """One update; returns loss and accuracy of the batch, shape (2,), on the device."""
    batch = batch.contiguous(memory_format=torch.channels_last)
    with autocast(batch.device):
        logits = run.forward(batch)
        if run.tutor is not None:
            with torch.no_grad():
                targets = run.tutor(batch, targets)
    loss = functional.cross_entropy(logits.float(), targets)
    torch.autograd.backward(loss)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return torch.stack((loss.detach(), (logits.argmax(1) == labels).float().mean()))


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to a share of its optimiser's peak rate."""
    for optimizer in optimizers:
        rate = optimizer.defaults["lr"] * factor
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


@torch.no_grad()
def update_average(run: Run, decay: float, step: int) -> None:
    """Move the averaged network towards the trained one; early steps move it further."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(*run.moving, weight)
    for old, new in zip(*run.counters, strict=True):
        old.copy_(new)
