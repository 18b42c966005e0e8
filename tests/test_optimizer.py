import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from search.training import optimizer
from search.training.optimizer import Muon, make_optimizers, orthogonalize, rate_factor, stack
from search.training.recipe import Optimizer, Recipe


def make_parameters() -> list[Tensor]:
    """A kernel laid out as on the device, a tall and a wide matrix, and one of the same shape."""
    torch.manual_seed(0)
    kernel = nn.Conv2d(8, 12, 3).to(memory_format=torch.channels_last).weight
    others = [nn.Parameter(torch.randn(*shape)) for shape in ((20, 5), (7, 30), (5, 20))]
    return [kernel, *others]


def step(parameters: list[Tensor], rate: float | Tensor) -> None:
    muon = Muon(parameters, 0.1, momentum=0.95, weight_decay=0.1)
    muon.param_groups[0]["lr"] = rate
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        muon.step()


def test_singular_values_come_close_to_one() -> None:
    wide, tall = torch.randn(6, 40), torch.randn(30, 4)
    both = orthogonalize(stack([wide, tall]))
    for matrix in (both[0, :6, :40], both[1, :4, :30]):
        values = torch.linalg.svdvals(matrix.float())
        assert values.min() > 0.6 and values.max() < 1.25
    assert both[1, 4:].abs().max() == 0 and both[1, :, 30:].abs().max() == 0


def test_matrices_padded_together_move_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = make_parameters()
    together = copy.deepcopy(apart)
    step(apart, 0.1)
    monkeypatch.setattr(optimizer, "bucket", lambda matrices: [list(range(len(matrices)))])
    # As on a GPU, where the rate is a tensor, too.
    step(together, torch.tensor(0.1))
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, atol=2e-2, rtol=0)
        assert one.stride() == other.stride()


def test_two_steps_are_those_of_the_source() -> None:
    torch.manual_seed(0)
    first, second, before = torch.randn(3, 20, 5)
    parameter = before.clone().requires_grad_()
    muon = Muon([parameter], 0.1, momentum=0.9, weight_decay=0.5)
    expected, average = before, torch.zeros(20, 5)
    for gradient in (first, second):
        parameter.grad = gradient
        muon.step()
        average = 0.9 * average + 0.1 * gradient
        direction = 0.1 * gradient + 0.9 * average
        # Twice as far, since the matrix has four times as many rows as columns.
        update = 2 * orthogonalize(direction.mT[None])[0].mT
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * update
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_weight_decay_shrinks_matrices_and_kernels_alone(name: Optimizer) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 1))
    recipe = Recipe(epochs=1, optimizer=name, learning_rate=0.1, weight_decay=0.5)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    for used in make_optimizers(network, recipe):
        used.step()
    for parameter in network.parameters():
        assert (parameter < 0.99).all() if parameter.ndim > 1 else (parameter == 1).all()


def test_sgd_penalises_matrices_alone_and_looks_ahead() -> None:
    network = nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.fill_(1.0)
        network.bias.fill_(1.0)
    recipe = Recipe(epochs=1, optimizer="sgd", learning_rate=0.1, weight_decay=0.5)
    (sgd,) = make_optimizers(network, recipe)
    network(torch.zeros(1, 2)).sum().backward()
    sgd.step()
    # Nesterov's first step is 1 + 0.9 gradients; the inputs are 0, so that the penalty is alone.
    assert network.weight.tolist() == [[pytest.approx(1 - 0.1 * 1.9 * 0.5)] * 2]
    assert network.bias.tolist() == [pytest.approx(1 - 0.1 * 1.9)]


def test_the_rate_rises_to_its_peak_and_falls_as_a_cosine() -> None:
    recipe = Recipe(epochs=10, schedule="cosine", warmup_epochs=2)
    factors = [rate_factor(recipe, epoch) for epoch in (0, 1, 2, 4, 6, 8, 10)]
    half = 0.5**0.5 / 2
    assert factors == pytest.approx([0, 0.5, 1, 0.5 + half, 0.5, 0.5 - half, 0])
    level = replace(recipe, schedule="constant")
    assert [rate_factor(level, epoch) for epoch in (1, 2, 6, 10)] == [0.5, 1, 1, 1]
