"""The optimisers of a recipe, and the rate at each step."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from search.config import Recipe
from service.device import pick_precision

VECTOR_SHARE = 0.1
"""With Muon: AdamW's rate for vectors, as a share of the matrices' rate."""


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz, for matrices and convolution kernels.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers" (2024), with the scale
    by the matrix's shape and decoupled weight decay. `torch.optim.Muon` takes no kernels.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, momentum: float, weight_decay: float
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, float]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        direction = torch.lerp(gradient, average, group["momentum"])
        matrix = orthogonalize(direction.flatten(1))
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(matrix.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly the closest semi-orthogonal matrix to one of shape (rows, columns).

    In bf16 where that is faster: singular values come out between 0.7 and 1.2 either way.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(pick_precision(matrix.device))
    for _ in range(steps):
        gram = x @ x.mT
        mixed = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.addmm(x, mixed, x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


def make_optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's optimisers; weight decay acts on matrices and kernels only."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return [torch.optim.Adam(network.parameters(), rate, fused=True)]
    if recipe.optimizer == "adamw":
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, rate, fused=True)]
    return [
        Muon(matrices, rate, momentum=0.95, weight_decay=decay),
        torch.optim.AdamW(vectors, rate * VECTOR_SHARE, weight_decay=0.0, fused=True),
    ]


def rate_factor(recipe: Recipe, epoch: float) -> float:
    """Share of the peak learning rate at a (fractional) epoch, counted from 0."""
    if epoch < recipe.warmup_epochs:
        return epoch / recipe.warmup_epochs
    if recipe.schedule == "constant" or recipe.epochs <= recipe.warmup_epochs:
        return 1.0
    done = (epoch - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
    return 0.5 + 0.5 * math.cos(math.pi * done)
