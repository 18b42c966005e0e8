import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from search.data.splits import load_split
from search.errors import DataError
from search.evaluation import evaluate as module
from search.evaluation.evaluate import Timing, evaluate, find_unseen, time_per_image
from search.evaluation.summary import format_evaluation, summarize
from service.artifact import load_artifact
from tests.conftest import make_faces, write_folder

CPU = torch.device("cpu")


def test_images_that_stand_in_train_are_left_out(artifact: Path, tmp_path: Path) -> None:
    data = tmp_path / "overlap"
    faces = make_faces(35, seed=1)
    write_folder(data, "validation", faces)
    write_folder(data, "train", faces.select(np.arange(35) % 5 == 0))
    plain, _ = evaluate(artifact, data, "validation", CPU)
    rest = plain.without_seen()
    assert rest is not None
    assert len(rest.faces) == 28
    assert "not_in_train" in summarize(plain)


def test_train_has_no_images_outside_train(artifact: Path, data: Path) -> None:
    plain, mirrored = evaluate(artifact, data, "train", CPU)
    text = format_evaluation(plain, mirrored)
    assert plain.without_seen() is None
    assert "nan" not in text and "not in train" not in text


def test_without_train_nobody_knows_what_was_seen(data: Path) -> None:
    faces = load_split(data, "validation")
    shutil.rmtree(data / "train")
    assert find_unseen(faces, data) is None


def test_a_malformed_train_split_is_named(data: Path) -> None:
    (data / "train" / "sad" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"broken\.png"):
        find_unseen(make_faces(7), data)


def test_the_mirrored_answer_is_the_same_for_the_mirror_image(
    artifact: Path, tmp_path: Path
) -> None:
    faces = make_faces(14)
    write_folder(tmp_path / "one", "test", faces)
    flipped = type(faces)(faces.images[:, :, ::-1].copy(), faces.labels)
    write_folder(tmp_path / "two", "test", flipped)
    sums = []
    for folder in ("one", "two"):
        plain, mirrored = evaluate(artifact, tmp_path / folder, "test", CPU)
        sums.append((plain.logits.sum(0), mirrored.logits.sum(0)))
    np.testing.assert_allclose(sums[0][1], sums[1][1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(sums[0][0], sums[1][0], rtol=1e-4, atol=1e-4)


def test_a_time_is_the_median_of_passes_whatever_one_of_them_takes(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, lasts = 0.0, iter([9.0, 1.0, 1.0, 100.0, 2.0, 2.0, 2.0, 4.0])

    def predict(_: object, images: torch.Tensor, __: int) -> torch.Tensor:
        nonlocal now
        now += next(lasts)
        return images

    monkeypatch.setattr(module, "predict_logits", predict)
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    network = load_artifact(artifact).network
    timing = time_per_image(network, CPU, 2, seconds=5)
    assert timing == Timing(median=1.0, low=0.75, high=1.5, passes=7)


def test_a_card_without_temperature_means_one(artifact: Path, data: Path) -> None:
    path = artifact / "card.json"
    card = json.loads(path.read_text())
    del card["temperature"]
    path.write_text(json.dumps(card))
    plain, _ = evaluate(artifact, data, "validation", CPU)
    assert plain.temperature == 1.0
