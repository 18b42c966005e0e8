import copy

import pytest
import torch
from torch import Tensor, nn

from search import optimizer
from search.optimizer import Muon, orthogonalize, stack


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


def test_a_step_is_as_long_as_the_rate_says() -> None:
    (parameter,) = before = [torch.zeros(4, 6, requires_grad=True)]
    step(before, 0.1)
    # Two steps of an orthogonal direction, the first with half of its momentum.
    assert 0.1 < float(torch.linalg.svdvals(parameter.detach()).max()) < 0.26
