from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from search.training.inference import predict_logits
from service.artifact import load_artifact
from service.inference import rounding
from service.inference.cuda import pick_sizes
from service.inference.golden import draw_golden
from service.inference.predictor import Predictor
from tests.conftest import make_faces
from tests.test_artifact import SHIPPED


def test_folded_network_answers_like_the_reference() -> None:
    faces = make_faces(140).images
    images = torch.from_numpy(faces)[:, None]
    shipped = load_artifact(SHIPPED)
    with torch.no_grad():
        logits = predict_logits(shipped.network, images)
    expected = torch.softmax(logits / shipped.card["temperature"], 1)
    found = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(faces)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_batches_do_not_mix_rows(artifact: Path) -> None:
    faces = make_faces(10).images
    predictor = Predictor(load_artifact(artifact), "cpu", 4)
    singly = np.concatenate([predictor.predict(face[None]) for face in faces])
    np.testing.assert_allclose(predictor.predict(faces), singly, atol=1e-5)
    np.testing.assert_allclose(singly.sum(1), 1, atol=1e-5)


def test_brightness_and_contrast_do_not_matter(artifact: Path) -> None:
    faces = make_faces(4).images // 2
    predictor = Predictor(load_artifact(artifact), "cpu", 4)
    for others in (faces + 100, 2 * faces):
        np.testing.assert_allclose(predictor.predict(faces), predictor.predict(others), atol=1e-4)


def test_a_flat_image_gets_an_answer(artifact: Path) -> None:
    flat = np.zeros((1, 48, 48), np.uint8)
    assert np.isfinite(Predictor(load_artifact(artifact), "cpu", 4).predict(flat)).all()


def test_out_of_memory_halves_the_batches(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = make_faces(10).images
    predictor = Predictor(load_artifact(artifact), "cpu", 8)
    expected = predictor.predict(faces)
    forward = predictor._forward
    sizes = []

    def forward_three(images: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return forward(images)

    monkeypatch.setattr(predictor, "_forward", forward_three)
    np.testing.assert_allclose(predictor.predict(faces), expected, atol=1e-5)
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_an_image_that_never_fits_is_an_error(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward_none(images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    predictor = Predictor(load_artifact(artifact), "cpu", 8)
    monkeypatch.setattr(predictor, "_forward", forward_none)
    with pytest.raises(torch.OutOfMemoryError):
        predictor.predict(make_faces(3).images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("most", [1, 48])
def test_cuda_has_the_labels_of_the_reference(most: int) -> None:
    shifts = [(down, right) for down in (-4, 0, 4) for right in (-4, 0, 4)]
    drawn = np.concatenate([np.roll(draw_golden(), shift, (1, 2)) for shift in shifts])
    faces = np.concatenate([drawn, make_faces(140).images])
    expected = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(faces)
    fast = Predictor(load_artifact(SHIPPED), "cuda", most)
    fast.warm_up()
    assert fast.cuda
    assert fast.cuda.rounded
    assert fast.cuda.rounded.sizes == fast.cuda.exact.sizes == tuple(pick_sizes(most))
    for size in range(1, most + 1):
        # In another thread than it was recorded in, as in the service.
        with ThreadPoolExecutor(1) as thread:
            parts = [faces[start : start + size] for start in range(0, len(faces), size)]
            found = np.concatenate(list(thread.map(fast.predict, parts)))
        np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
        np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_decides_near_ties_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "NEAR_TIE", 2.0)
    faces = np.concatenate([draw_golden(), make_faces(140).images])
    expected = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(faces)
    fast = Predictor(load_artifact(SHIPPED), "cuda", 64)
    for _ in range(2):
        np.testing.assert_allclose(fast.predict(faces), expected, atol=1e-4)
        fast.warm_up()
