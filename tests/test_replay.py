from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from search.config import RECIPES
from search.training import replay
from search.training.plan import Plan, start
from search.training.replay import Replay
from search.training.step import make_step, set_rates, train_step
from tests.conftest import TINY

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Stub:
    """Stands for a recording on a GPU: plays the function."""

    made = 0

    def __init__(self, function: Callable[..., Tensor]) -> None:
        Stub.made += 1
        self.play = lambda inputs: function(*inputs) + 100


def test_the_fourth_call_and_later_ones_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(values: Tensor) -> Tensor:
        return 2 * values

    call = Replay(double)
    monkeypatch.setattr(call, "_call_aside", lambda inputs: double(*inputs))
    monkeypatch.setattr(call, "_record", lambda _: Stub(double))
    seen = [int(call(torch.full((2,), value))[0]) for value in range(6)]
    assert seen == [0, 2, 4, 106, 108, 110]
    assert Stub.made == 1
    other = [int(call(torch.full((3,), value))[0]) for value in range(replay.WARM_UP + 1)]
    assert other == [0, 2, 4, 106]
    assert Stub.made == 2


def test_rates_on_a_gpu_are_changed_in_place() -> None:
    run = start(Plan(TINY, RECIPES["modern"], 0, ""), torch.device("cpu"))
    rates = [torch.tensor(0.0) for _ in run.optimizers]
    for optimizer, rate in zip(run.optimizers, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
    set_rates(run.optimizers, 0.5)
    assert [float(rate) for rate in rates] == pytest.approx([0.015, 0.0015])


@needs_gpu
def test_replayed_steps_train_as_single_ones() -> None:
    device, recipe = torch.device("cuda"), RECIPES["modern"]
    losses = []
    for replayed in (False, True):
        run = start(Plan(TINY, recipe, 0, ""), device)
        step = make_step(run) if replayed else partial(train_step, run)
        generator = torch.Generator(device).manual_seed(0)
        found = []
        for number in range(12):
            batch = torch.randn(16, 1, 48, 48, device=device, generator=generator)
            labels = torch.arange(16, device=device) % 7
            set_rates(run.optimizers, 1 / (1 + number))
            found.append(step(batch, labels, torch.eye(7, device=device)[labels])[0].item())
        losses.append(torch.tensor(found))
    torch.testing.assert_close(*losses, atol=0.02, rtol=0)
