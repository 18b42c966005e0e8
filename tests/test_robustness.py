from functools import partial
from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from search.evaluation.robustness import (
    CORRUPTIONS,
    corrupt,
    gaussian_blur,
    jitter,
    occlude,
    record_robustness,
    turn,
)
from service.artifact import load_artifact
from tests.conftest import make_faces

IMAGES = torch.from_numpy(make_faces(14).images)[:, None]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_changes_pixels_and_repeats(name: str) -> None:
    once, again = (corrupt(IMAGES, CORRUPTIONS[name]) for _ in range(2))
    assert once.shape == IMAGES.shape and once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert not torch.equal(once, IMAGES)


def test_blur_is_torchvisions() -> None:
    expected = reference.gaussian_blur(IMAGES.float(), [13, 13], [2.0, 2.0])
    inside = (..., slice(6, -6), slice(6, -6))
    torch.testing.assert_close(
        gaussian_blur(IMAGES.float(), torch.Generator(), sigma=2.0)[inside], expected[inside]
    )


def test_no_turn_and_no_jitter_change_nothing() -> None:
    for corruption in (partial(turn, degrees=0.0), partial(jitter, share=0.0)):
        assert torch.equal(corrupt(IMAGES, corruption), IMAGES)


def test_one_whole_square_is_blackened() -> None:
    white = torch.full((50, 1, 48, 48), 255, dtype=torch.uint8)
    black = corrupt(white, partial(occlude, side=12)) == 0
    assert (black.flatten(1).sum(1) == 144).all()
    assert len({tuple(row.nonzero()[0].tolist()) for row in black[:, 0]}) > 10


def test_the_card_gets_every_corruption(artifact: Path, data: Path) -> None:
    facts = record_robustness(artifact, data, torch.device("cpu"))
    assert load_artifact(artifact).card["robustness"] == facts
    assert list(facts["accuracy"]) == ["none", *CORRUPTIONS]
    assert facts["images"] == 35
