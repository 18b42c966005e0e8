import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.artifact import load_artifact
from service.inference.golden import (
    GOLDEN_FILE,
    TOLERANCE,
    GoldenError,
    check_golden,
    draw_golden,
    write_golden,
)
from service.inference.predictor import Predictor
from tests.serving import even
from tests.test_artifact import SHIPPED


def lean(by: float, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Even scores, one of them moved."""
    scores = even(faces)
    scores[-1, 3] += by
    return scores


def test_drawn_faces_are_the_same_each_time_and_differ() -> None:
    faces = draw_golden()
    assert faces.shape == (16, 48, 48)
    np.testing.assert_array_equal(faces, draw_golden())
    assert len({face.tobytes() for face in faces}) == len(faces)


def test_the_shipped_model_tells_drawn_faces_apart() -> None:
    scores = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(draw_golden())
    # A check on faces that all look alike to the network would find little.
    assert len(set(scores.argmax(1))) > 1
    assert np.ptp(scores, axis=0).max() > 0.2


def test_the_same_answers_pass_and_others_do_not(tmp_path: Path) -> None:
    write_golden(tmp_path, even)
    check_golden(tmp_path, even)
    check_golden(tmp_path, lambda faces: lean(TOLERANCE / 2, faces))
    for off in (2 * TOLERANCE, -2 * TOLERANCE, float("nan")):
        with pytest.raises(GoldenError, match="off by"):
            check_golden(tmp_path, lambda faces, off=off: lean(off, faces))  # type: ignore[misc]


@pytest.mark.parametrize("content", [b"", b"torn" * 10])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / GOLDEN_FILE).write_bytes(content)
    with pytest.raises(GoldenError, match=GOLDEN_FILE):
        check_golden(tmp_path, even)


def test_a_model_without_golden_faces_passes_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    check_golden(tmp_path, even)
    assert "publish it again" in caplog.text
