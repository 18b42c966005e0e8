from pathlib import Path

import numpy as np
import pytest

from search.data.audit import Audit, audit_faces, audit_splits
from search.data.faces import Faces
from search.errors import DataError
from tests.conftest import make_faces


def find(images: np.ndarray, labels: list[int], earlier: dict[bytes, str] | None = None) -> Audit:
    places = [f"place {row}" for row in range(len(labels))]
    return audit_faces(Faces(images, np.array(labels)), places, earlier or {})


def test_each_fault_is_found_with_the_image_that_it_repeats_or_contradicts() -> None:
    images = make_faces(7).images.copy()
    images[1] = images[0]
    images[2] = images[0]
    images[3] = 9
    audit = find(images, [0, 0, 1, 3, 4, 5, 6], {images[4].tobytes(): "train"})
    assert audit.faults == {
        "blank": {3: ""},
        "copy": {1: "place 0", 2: "place 0"},
        "disputed": {0: "place 2", 1: "place 2", 2: "place 0"},
        "leaked": {4: "train"},
    }
    assert audit.pairs == [(0, 2)]


def test_three_labels_of_one_image_make_two_pairs() -> None:
    images = make_faces(4).images.copy()
    images[1] = images[3] = images[0]
    assert find(images, [0, 1, 2, 6]).pairs == [(0, 1), (0, 3)]


def test_no_split_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split"):
        audit_splits(tmp_path)


def test_a_split_of_which_nothing_can_be_read_is_an_error_that_names_the_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "train" / "sad").mkdir(parents=True)
    (tmp_path / "train" / "sad" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"sad/broken\.png: not a readable image"):
        audit_splits(tmp_path)
