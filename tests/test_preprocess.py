import numpy as np
import pytest
import torch
from torch import Tensor

from service.preprocess import IMAGE_SIZE, LEVELS, STEEPEST, equalize, standardize
from tests.conftest import make_faces


@pytest.fixture
def faces() -> Tensor:
    return torch.from_numpy(np.array(make_faces(14).images))[:, None]


def curve(images: Tensor, gamma: float) -> Tensor:
    return ((images / 255) ** gamma * 255).round().byte()


def draw_bell(middle: float, width: float) -> Tensor:
    """Images whose grey levels are spread as a photograph's often are."""
    noise = torch.randn(8, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.manual_seed(0))
    return (middle + width * noise).round().clamp(0, 255).byte()


def test_each_image_is_centred_and_scaled_alone(faces: Tensor) -> None:
    batch = standardize(faces)
    assert batch.dtype == torch.float32 and batch.shape == faces.shape
    assert batch.mean((1, 2, 3)).abs().max() < 1e-5
    assert batch.std((1, 2, 3), correction=0) == pytest.approx(torch.ones(14), abs=1e-4)
    assert torch.equal(batch[3:4], standardize(faces[3:4]))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_tone_curve_hardly_changes_the_input(gamma: float) -> None:
    plain = draw_bell(128, 50)
    curved = curve(plain, gamma)
    changed = (standardize(curved) - standardize(plain)).abs().mean()

    def centred(images: Tensor) -> Tensor:
        pixels = images.float()
        deviation, mean = torch.std_mean(pixels, (1, 2, 3), keepdim=True)
        return (pixels - mean) / deviation

    without = (centred(curved) - centred(plain)).abs().mean()
    assert changed < without / 5


def test_grey_levels_are_spread_evenly_over_the_whole_range() -> None:
    ranks = equalize(draw_bell(90, 25))
    shares = torch.histc(ranks, 8, 0.0, 1.0) / ranks.numel()
    assert shares == pytest.approx(torch.full((8,), 1 / 8), abs=0.04)


def test_noise_in_a_flat_area_stays_small() -> None:
    image = torch.full((1, 1, IMAGE_SIZE, IMAGE_SIZE), 128, dtype=torch.uint8)
    image[..., ::2] += 1
    image[..., : IMAGE_SIZE // 4, :] = torch.arange(IMAGE_SIZE, dtype=torch.uint8) * 5
    light, dark = equalize(image)[0, 0, -1, :2]
    assert 0 < light - dark < (STEEPEST + 1) / LEVELS


def test_hardly_any_contrast_fades_to_zero() -> None:
    flat = torch.full((1, 1, IMAGE_SIZE, IMAGE_SIZE), 77, dtype=torch.uint8)
    assert not standardize(flat).any()
    flat[..., ::2] += 1
    assert standardize(flat).abs().max() < 0.2


def test_other_than_grey_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match=r"uint8, not torch\.float32"):
        standardize(torch.zeros(1, 1, 48, 48))
    with pytest.raises(ValueError, match=r"not \(1, 3, 48, 48\)"):
        standardize(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))
