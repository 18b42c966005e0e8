import csv
import os
from pathlib import Path

import numpy as np
from PIL import Image

from search.data.audit import FAULTS, Audit
from search.data.table import USAGES
from search.report.audit_report import draw_fault, tabulate_tones, write_audit
from tests.conftest import make_faces, write_csv, write_folder
from tests.test_audit import find


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


def read_faults(out: Path, name: str) -> list[dict[str, str]]:
    with (out / "faults.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["fault"] == name]


def test_the_page_and_the_list_name_the_files_that_stand_in_both_splits(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(data, "train", make_faces(14))
    write_folder(data, "validation", make_faces(7))
    shared = set(make_faces(14).pixels()) & set(make_faces(7).pixels())
    text = write_audit(data, out)
    assert "audit.html" in text and "faults.csv" in text
    assert (out / "audit.html").exists()
    leaked = read_faults(out, "leaked")
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
    (leaked,) = read_faults(tmp_path / "out", "leaked")
    assert (leaked["line"], leaked["other_line"]) == ("2", "4")


def test_what_a_training_would_lack_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(70))
    for file in (tmp_path / "data" / "train" / "disgust").iterdir():
        file.unlink()
    lines = write_audit(tmp_path / "data", tmp_path / "out").splitlines()
    assert "no validation split" in lines
    assert "the train split has no image of disgust" in lines
    assert not [line for line in lines if "test split" in line]


def test_all_that_cannot_be_read_is_listed_and_the_rest_looked_through(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(data, "train", make_faces(14))
    (data / "train" / "sad" / "broken.png").write_bytes(b"no image")
    Image.new("L", (50, 48)).save(data / "train" / "happy" / "wide.png")
    header, train = write_audit(data, out).splitlines()[:2]
    assert header.split() == ["split", "images", *FAULTS, "unreadable"]
    assert (train.split()[1], train.split()[-1]) == ("14", "2")
    rows = {row["file"]: row["reason"] for row in read_faults(out, "unreadable")}
    assert rows["train/happy/wide.png"] == "50x48, expected 48x48"
    assert rows["train/sad/broken.png"].startswith("not a readable image")
    page = (out / "audit.html").read_text()
    assert all(f"<td>{place}</td>" in page for place in rows)


def test_so_are_all_malformed_lines_of_a_csv_file_once(tmp_path: Path) -> None:
    face = " ".join(["7"] * 48**2)
    lines = ["emotion,pixels,Usage", f"3,{face},Training", f"9,{face},Training", f"3,{face},Odd"]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    write_audit(tmp_path / "faces.csv", tmp_path / "out")
    rows = read_faults(tmp_path / "out", "unreadable")
    assert [(row["line"], row["reason"].split(",")[0]) for row in rows] == [
        ("3", "unknown label '9'"),
        ("4", "unknown usage 'Odd'"),
    ]


def test_a_file_whose_name_is_not_utf8_is_listed(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(data, "train", make_faces(14))
    (data / "train" / "sad" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    write_audit(data, out)
    (row,) = read_faults(out, "unreadable")
    assert row["file"] == r"train/sad/caf\udce9.png"
    assert r"caf\udce9.png" in (out / "audit.html").read_text()


def test_a_malformed_line_of_an_absent_split_is_listed_with_the_next_one(tmp_path: Path) -> None:
    face = " ".join(["7"] * 48**2)
    lines = ["emotion,pixels,Usage", f"3,{face},Odd", f"3,{face},PublicTest"]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    write_audit(tmp_path / "faces.csv", tmp_path / "out")
    assert [row["line"] for row in read_faults(tmp_path / "out", "unreadable")] == ["2"]


def test_a_split_of_which_nothing_can_be_read_is_listed_with_another(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", "train", make_faces(14))
    folder = tmp_path / "data" / "validation" / "sad"
    folder.mkdir(parents=True)
    (folder / "broken.png").write_bytes(b"no image")
    write_audit(tmp_path / "data", tmp_path / "out")
    (row,) = read_faults(tmp_path / "out", "unreadable")
    assert row["file"] == "validation/sad/broken.png"
