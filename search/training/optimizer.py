"""The optimisers of a recipe, and the rate at each step."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from search.training.recipe import Recipe
from service.device import pick_precision

VECTOR_SHARE = 0.1
"""With Muon: AdamW's rate for vectors, as a share of the matrices' rate."""


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz, for matrices and convolution kernels.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers" (2024), with the scale
    by the matrix's shape and decoupled weight decay. Other than there, `make_optimizers` has it
    train the first and last layers, too. `torch.optim.Muon` takes no kernels.
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
            parameters = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in parameters]
            # The rate is a tensor where steps are replayed as a CUDA graph.
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            averages = [self._average(parameter) for parameter in parameters]
            torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
            directions = torch._foreach_lerp(gradients, averages, group["momentum"])
            matrices = [direction.flatten(1) for direction in directions]
            for rows in bucket(matrices):
                updates = orthogonalize(stack([matrices[row] for row in rows])) * group["lr"]
                for row, update in zip(rows, updates, strict=True):
                    apply(update, parameters[row])

    def _average(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum"]
        return average


def bucket(matrices: list[Tensor]) -> list[list[int]]:
    """Indices of matrices to be treated at once.

    On a GPU all, since a launch costs more than the zeros of padding; on a CPU those of a shape.
    """
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(matrices):
        shape = () if matrix.is_cuda else tuple(sorted(matrix.shape))
        shapes.setdefault(shape, []).append(index)
    return list(shapes.values())


def widen(matrix: Tensor) -> Tensor:
    """The matrix, lying on its side if it is tall: not more rows than columns."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def stack(matrices: list[Tensor]) -> Tensor:
    """Wide matrices in one tensor (count, rows, columns), padded with zeros."""
    wide = [widen(matrix) for matrix in matrices]
    rows, columns = (max(matrix.shape[axis] for matrix in wide) for axis in (0, 1))
    stacked = wide[0].new_zeros(len(wide), rows, columns)
    for place, matrix in zip(stacked, wide, strict=True):
        place[: matrix.shape[0], : matrix.shape[1]] = matrix
    return stacked


def apply(update: Tensor, parameter: Tensor) -> None:
    """Subtract a wide, padded matrix, larger for tall ones, from the parameter that it is for."""
    rows, columns = len(parameter), parameter[0].numel()
    if rows > columns:
        update = update.mT
    scale = max(1.0, rows / columns) ** 0.5
    parameter.sub_(update[:rows, :columns].reshape(parameter.shape), alpha=scale)


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearly the closest semi-orthogonal matrix to each of shape (count, rows, columns).

    Best with not more rows than columns; zeros of padding stay. In bf16 where that is faster:
    singular values come out between 0.7 and 1.2 either way.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    norms = matrices.norm(dim=(1, 2), keepdim=True)
    x = (matrices / (norms + 1e-7)).to(pick_precision(matrices.device))
    for _ in range(steps):
        gram = x @ x.mT
        mixed = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    result: Tensor = x.to(matrices.dtype)
    return result


def make_optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's optimisers; weight decay acts on matrices and kernels only."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return [torch.optim.Adam(network.parameters(), rate, fused=True)]
    if recipe.optimizer == "muon":
        return [
            Muon(matrices, rate, momentum=0.95, weight_decay=decay),
            torch.optim.AdamW(vectors, rate * VECTOR_SHARE, weight_decay=0.0, fused=True),
        ]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return [torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True, fused=True)]
    return [torch.optim.AdamW(groups, rate, fused=True)]


def rate_factor(recipe: Recipe, epoch: float) -> float:
    """Share of the peak learning rate at a (fractional) epoch, counted from 0."""
    if epoch < recipe.warmup_epochs:
        return epoch / recipe.warmup_epochs
    if recipe.schedule == "constant" or recipe.epochs <= recipe.warmup_epochs:
        return 1.0
    done = (epoch - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
    return 0.5 + 0.5 * math.cos(math.pi * done)
