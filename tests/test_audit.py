import csv
from pathlib import Path

import numpy as np
import pytest

from search.audit import audit_faces, audit_splits, write_audit
from search.data import Faces
from search.errors import DataError
from tests.conftest import make_faces, write_folder


def test_each_fault_is_found() -> None:
    images = make_faces(7).images.copy()
    images[1] = images[0]
    images[2] = images[0]
    images[3] = 9
    faces = Faces(images, np.array([0, 0, 1, 3, 4, 5, 6]))
    found = audit_faces(faces, {images[4].tobytes()}).faults()
    rows = {name: np.flatnonzero(values).tolist() for name, values in found.items()}
    assert rows == {"blank": [3], "copy": [1, 2], "disputed": [0, 1, 2], "leaked": [4]}


def test_the_page_and_the_list_name_what_stands_in_both_splits(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(14))
    write_folder(tmp_path / "data", "validation", make_faces(7))
    shared = set(make_faces(14).pixels()) & set(make_faces(7).pixels())
    text = write_audit(tmp_path / "data", tmp_path / "out")
    assert "audit.html" in text
    assert (tmp_path / "out" / "audit.html").exists()
    with (tmp_path / "out" / "faults.csv").open() as file:
        leaked = [row for row in csv.DictReader(file) if row["fault"] == "leaked"]
    assert len(leaked) == len(shared)


def test_no_split_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split"):
        audit_splits(tmp_path)
