from dataclasses import replace

import numpy as np
import pytest
import torch

from search.config import RECIPES
from search.training.mix import cutmix, mix
from search.training.recipe import Recipe

PLAIN = RECIPES["modern"]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 48, 48)
    return images, torch.eye(7)[:4]


def test_without_mixing_nothing_changes() -> None:
    images, targets = batch()
    mixed = mix(images, targets, PLAIN, np.random.default_rng(0))
    assert torch.equal(mixed[0], images)
    assert torch.equal(mixed[1], targets)


@pytest.mark.parametrize("recipe", [replace(PLAIN, mixup=1.0), replace(PLAIN, cutmix=1.0)])
def test_images_and_targets_are_mixed_by_the_same_share(recipe: Recipe) -> None:
    images, targets = batch()
    mixed, wanted = mix(images, targets, recipe, np.random.default_rng(3))
    share = wanted[0, 0].item()
    assert 0 < share < 1
    assert wanted.sum(1).tolist() == pytest.approx([1] * 4)
    assert mixed[0].mean().item() == pytest.approx(3 * (1 - share), abs=1e-4)


def test_the_pasted_area_is_what_the_share_says() -> None:
    images, _ = batch()
    for seed in range(20):
        pasted, share = cutmix(images, 0.6, np.random.default_rng(seed))
        assert (pasted[0] == 0).float().mean().item() == pytest.approx(share)
