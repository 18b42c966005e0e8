"""One run on several processes, started by `torchrun`: each takes its part of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """This process's number from 0; 0 for a single process."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Number of processes; 1 for a single one."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def own_device(device: torch.device) -> torch.device:
    """`cuda` becomes this process's own GPU under torchrun; else the device as given."""
    local = os.environ.get("LOCAL_RANK")
    if device.type == "cuda" and device.index is None and local:
        return torch.device("cuda", int(local))
    return device


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started; nothing without torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def own_part(values: Tensor) -> Tensor:
    """This process's rows of a batch; the parts of all processes are disjoint and cover it."""
    return values[rank() :: world()]


def average_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if world() > 1:
        distributed.all_reduce(values)
        values /= world()
    return values


def wrap(network: nn.Module) -> nn.Module:
    """A module that shares the network's weights and averages gradients over all processes.

    Batch norms are changed in place to take their statistics over the whole batch, so that a
    run has the same curve on any number of processes.
    """
    if world() == 1:
        return network
    if next(network.parameters()).is_cuda:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    else:
        _share_norms(network)
    parallel = DistributedDataParallel(network)
    # They are equal everywhere. Set here, because the argument's name depends on the version.
    parallel.broadcast_buffers = False
    return parallel


def _share_norms(network: nn.Module) -> None:
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, SharedBatchNorm(child))


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes; `nn.SyncBatchNorm` works on GPUs only.

    Args:
        norm: what it replaces; parameters and running statistics are shared with it.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any shape (N, C, ...) will do."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (N, C, ...) by the statistics of all processes' features."""
        if not self.training:
            return super().forward(features)
        axes = [0, *range(2, features.ndim)]
        # Under autocast the features are bfloat16, too coarse for a variance.
        exact = features.float()
        moments = torch.stack((exact.mean(axes), exact.square().mean(axes)))
        total: Tensor = _SumOverProcesses.apply(moments)
        mean, square = total / world()
        variance = square - mean.square()
        self._track(mean.detach(), variance.detach(), features.numel() // len(mean) * world())
        shape = [1, -1, *[1] * (features.ndim - 2)]
        scale: Tensor = (variance + self.eps).rsqrt() * self.weight
        offset: Tensor = self.bias - mean * scale
        return (exact * scale.view(shape) + offset.view(shape)).to(features.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(_: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
