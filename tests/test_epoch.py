import pytest
import torch
from torch import Tensor

from search.stop import StopWish
from search.training.epoch import draw_order, train_epoch
from search.training.inference import on_device
from search.training.plan import Plan, start
from search.training.recipe import Recipe
from tests.conftest import TINY, make_faces

CPU = torch.device("cpu")


def draw_rows(seed: int, epoch: int) -> list[int]:
    """The rows of 70 faces in the order in which an epoch's steps get them."""
    plan = Plan(TINY, Recipe(epochs=2, batch_size=14), seed, "")
    run = start(plan, CPU)
    run.history = [{}] * epoch
    rows: list[int] = []

    def note(_: Tensor, __: Tensor, targets: Tensor) -> Tensor:
        rows.extend(targets[:, 0].int().tolist())
        return torch.zeros(2)

    images, labels = on_device(make_faces(70), CPU)
    numbers = torch.arange(70.0)[:, None].expand(70, 7)
    train_epoch(run, plan, note, images, labels, targets=numbers, stop=StopWish())
    return rows


def test_each_epoch_has_all_faces_once_in_an_order_of_its_own() -> None:
    orders = [draw_rows(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len(set(map(tuple, orders))) == 4
    assert all(sorted(order) == list(range(70)) for order in orders)
    assert draw_rows(0, 1) == orders[1]


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_balance_draws_a_small_class_more_often(balance: float, share: float) -> None:
    labels = (torch.arange(10_000) % 10 == 0).long()
    recipe = Recipe(epochs=1, balance=balance)
    order = draw_order(labels, recipe, torch.Generator().manual_seed(0))
    assert labels[order].float().mean().item() == pytest.approx(share, abs=0.02)


def test_faces_are_exposed_before_they_are_equalised() -> None:
    images, labels = on_device(make_faces(28), CPU)
    seen: list[Tensor] = []

    def note(batch: Tensor, *_: Tensor) -> Tensor:
        seen.append(batch)
        return torch.zeros(2)

    for stops in (0.0, 2.0):
        plan = Plan(TINY, Recipe(epochs=1, batch_size=28, exposure=stops), 0, "")
        run, targets = start(plan, CPU), torch.zeros(28, 7)
        train_epoch(run, plan, note, images, labels, targets=targets, stop=StopWish())
    plain, exposed = seen
    assert not torch.equal(plain, exposed)
    torch.testing.assert_close(exposed.std((1, 2, 3), correction=0), torch.ones(28))
