import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from search.config import RECIPES
from search.training.augment import (
    affine_matrices,
    augment,
    blur,
    draw_matrices,
    erase,
    expose,
    warp,
)
from search.training.recipe import Recipe


@pytest.mark.parametrize(
    ("angle", "scale", "right", "down"),
    [(0, 1, 0, 0), (10, 1, 0, 0), (0, 1.1, 0, 0), (0, 1, 0.1, 0), (-7, 0.9, 0.05, -0.1)],
)
def test_the_map_is_torchvisions(angle: float, scale: float, right: float, down: float) -> None:
    # A smooth image, so that the two ways of sampling agree closely.
    line = torch.linspace(-3, 3, 48)
    image = torch.exp(-((line[None, :] - 0.5) ** 2) - (line[:, None] + 0.3) ** 2)[None, None]
    matrices = affine_matrices(
        torch.tensor([float(angle)]),
        torch.tensor([float(scale)]),
        torch.tensor([[right], [down]]),
        torch.ones(1),
    )
    # torchvision shifts by whole pixels only.
    shift = [round(right * 48), round(down * 48)]
    matrices[:, :, 2] = affine_matrices(
        torch.tensor([float(angle)]),
        torch.tensor([float(scale)]),
        torch.tensor([[shift[0] / 48], [shift[1] / 48]]),
        torch.ones(1),
    )[:, :, 2]
    expected = reference.affine(
        image, angle, shift, scale, [0.0], interpolation=reference.InterpolationMode.BILINEAR
    )
    centre = (..., slice(8, 40), slice(8, 40))
    torch.testing.assert_close(
        warp(image, matrices, 48)[centre], expected[centre], atol=5e-3, rtol=0
    )


def test_mirror_is_exact() -> None:
    image = torch.rand(1, 1, 48, 48)
    matrices = affine_matrices(torch.zeros(1), torch.ones(1), torch.zeros(2, 1), -torch.ones(1))
    torch.testing.assert_close(warp(image, matrices, 48), image.flip(-1))


def test_draws_fill_the_recipes_ranges_and_do_not_leave_them() -> None:
    recipe = Recipe(epochs=1, mirror=True, rotation=30, zoom=0.2, shift=0.1)
    matrices = draw_matrices(1000, recipe, torch.Generator().manual_seed(0))
    turns, moved = matrices[:, :, :2], matrices[:, :, 2]
    mirrored = torch.linalg.det(turns) < 0
    assert 400 < mirrored.sum() < 600
    angles = torch.rad2deg(torch.atan2(-turns[:, 1, 0], turns[:, 1, 1]))
    zooms = 1 / turns[:, 1].norm(dim=1) - 1
    right, down = (-torch.linalg.solve(turns, moved) / 2).T
    for drawn, most in ((angles, 30), (zooms, 0.2), (right, 0.1), (down, 0.1)):
        for kind in (drawn[mirrored], drawn[~mirrored]):
            assert -most <= kind.min() < -0.95 * most
            assert 0.95 * most < kind.max() <= most


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(4, 1, 48, 48)
    result = augment(images, Recipe(epochs=1), 48, torch.Generator())
    torch.testing.assert_close(result, images)


def test_the_same_seed_gives_the_same_faces() -> None:
    images = torch.rand(4, 1, 48, 48)

    def draw(seed: int) -> torch.Tensor:
        return augment(images, RECIPES["modern"], 32, torch.Generator().manual_seed(seed))

    assert draw(1).shape == (4, 1, 32, 32)
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_erasing_blanks_one_rectangle() -> None:
    images = torch.ones(200, 1, 48, 48)
    erased = erase(images, 0.5, torch.Generator().manual_seed(0))
    blank = (erased == 0)[:, 0]
    rows, columns = blank.any(2), blank.any(1)
    assert 70 <= rows.any(1).sum() <= 130
    # All of the rows and columns that it touches, so one rectangle where these are without a gap.
    assert torch.equal(blank, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):
        assert (side.int().diff(prepend=torch.zeros(200, 1), dim=1) > 0).sum(1).max() <= 1
        found = side.sum(1)[side.any(1)]
        assert found.min() >= 0.15 * 48 - 1 and found.max() <= 0.45 * 48 + 1


def test_each_image_gets_its_own_blur() -> None:
    images = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    found = blur(images, torch.tensor([0.0, 0.7, 2.0]))
    torch.testing.assert_close(found[0], images[0])
    for row, sigma in ((1, 0.7), (2, 2.0)):
        expected = reference.gaussian_blur(images[row], [13, 13], [sigma, sigma])
        inside = (..., slice(6, 42), slice(6, 42))
        torch.testing.assert_close(found[row][inside], expected[inside], atol=1e-4, rtol=0)


def test_half_of_the_images_are_blurred() -> None:
    images = torch.rand(400, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = augment(images, Recipe(epochs=1, blur=2.0), 12, torch.Generator().manual_seed(1))
    plain = augment(images, Recipe(epochs=1), 12, torch.Generator().manual_seed(1))
    changed = (found - plain).abs().amax((1, 2, 3)) > 1e-3
    assert 150 < changed.sum() < 250


def test_half_of_the_images_get_noise() -> None:
    images = torch.zeros(400, 1, 12, 12)
    found = augment(images, Recipe(epochs=1, noise=0.5), 12, torch.Generator().manual_seed(1))
    deviations = found.std((1, 2, 3))
    noisy = deviations > 0
    assert 150 < noisy.sum() < 250
    assert 0.45 < deviations.max() < 0.6
    assert 0.2 < deviations[noisy].mean() < 0.3


def test_half_of_the_images_get_another_exposure() -> None:
    images = torch.full((400, 1, 4, 4), 100, dtype=torch.uint8)
    images[:, :, 0] = 250
    found = expose(images, 1.0, torch.Generator().manual_seed(1))
    assert found.dtype == torch.uint8
    factors = found[:, 0, 1, 0] / 100
    assert 150 < (factors != 1).sum() < 250
    assert 0.5 <= factors.min() < 0.6
    assert 1.8 < factors.max() <= 2
    brighter = factors > 1.02
    assert (found[brighter][:, :, 0] == 255).all()
    assert torch.equal(expose(images, 0.0, torch.Generator()), images)
