import csv
from pathlib import Path

import numpy as np
import pytest

from search.audit import Audit, audit_faces, audit_splits, draw_fault, tabulate_tones, write_audit
from search.errors import DataError
from search.faces import Faces
from search.table import USAGES
from tests.conftest import make_faces, write_csv, write_folder


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


def titles(audit: Audit, name: str) -> list[str]:
    picture = draw_fault("train", name, audit)
    assert picture
    return [text for axis in picture.figure.axes if (text := axis.get_title())]


def test_both_sides_of_a_contradiction_stand_side_by_side_without_blank_images() -> None:
    images = make_faces(6).images.copy()
    images[0] = images[3] = 0
    images[4] = images[1]
    images[5] = images[2]
    audit = find(images, [0, 0, 0, 3, 3, 4])
    assert titles(audit, "disputed") == ["1: angry", "1: happy", "2: angry", "2: sad"]
    assert titles(audit, "copy") == ["happy", "sad"]
    assert titles(audit, "blank") == ["angry", "happy"]
    picture = draw_fault("train", "disputed", audit)
    assert picture
    assert "2 of 2 pairs" in picture.caption and "without the blank" in picture.caption


def test_blank_copies_alone_make_no_picture() -> None:
    images = make_faces(3).images.copy()
    images[:2] = 0
    audit = find(images, [0, 1, 2])
    assert draw_fault("train", "copy", audit) is None
    assert draw_fault("train", "disputed", audit) is None
    assert draw_fault("train", "leaked", audit) is None


def test_a_picture_shows_a_spread_sample_and_says_so() -> None:
    images = make_faces(70).images
    earlier = {image.tobytes(): "train" for image in images}
    picture = draw_fault("validation", "leaked", find(images, sorted([*range(7)] * 10), earlier))
    assert picture
    assert "24 of 70 images" in picture.caption
    shown = [axis.get_title() for axis in picture.figure.axes]
    assert len(shown) == 24
    assert len(set(shown)) == 7


def read_leaked(out: Path) -> list[dict[str, str]]:
    with (out / "faults.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["fault"] == "leaked"]


def test_the_page_and_the_list_name_the_files_that_stand_in_both_splits(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(data, "train", make_faces(14))
    write_folder(data, "validation", make_faces(7))
    shared = set(make_faces(14).pixels()) & set(make_faces(7).pixels())
    text = write_audit(data, out)
    assert "audit.html" in text and "faults.csv" in text
    assert (out / "audit.html").exists()
    leaked = read_leaked(out)
    assert len(leaked) == len(shared)
    for row in leaked:
        assert row["file"].startswith(f"validation/{row['label']}/")
        assert row["other_file"].startswith("train/")
        assert (data / row["file"]).read_bytes() == (data / row["other_file"]).read_bytes()


def test_the_page_tells_how_light_the_images_are_and_of_what_contrast() -> None:
    images = np.zeros((2, 48, 48), np.uint8)
    images[0, :24], images[1] = 200, 60
    (row,) = tabulate_tones({"train": find(images, [0, 1])}).rows
    assert row == ["train", "80.0 ± 20.0", "50.0 ± 50.0"]


def test_the_list_names_the_lines_of_a_csv_file(tmp_path: Path) -> None:
    faces = make_faces(7)
    rows = [
        {"emotion": "3", "pixels": " ".join(map(str, image.ravel())), "Usage": USAGES[split]}
        for split, image in (
            ("validation", faces.images[0]),
            ("train", faces.images[1]),
            ("train", faces.images[0]),
        )
    ]
    write_csv(tmp_path / "faces.csv", ["emotion", "pixels", "Usage"], rows)
    write_audit(tmp_path / "faces.csv", tmp_path / "out")
    (leaked,) = read_leaked(tmp_path / "out")
    assert (leaked["line"], leaked["other_line"]) == ("2", "4")


def test_what_a_training_would_lack_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(70))
    for file in (tmp_path / "data" / "train" / "disgust").iterdir():
        file.unlink()
    lines = write_audit(tmp_path / "data", tmp_path / "out").splitlines()
    assert "no validation split" in lines
    assert "the train split has no image of disgust" in lines
    assert not [line for line in lines if "test split" in line]


def test_no_split_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split"):
        audit_splits(tmp_path)
