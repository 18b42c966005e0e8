import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from search.data.faces import Faces, drop_duplicates
from search.data.splits import load_split, locate_split
from search.data.table import USAGES
from search.errors import DataError
from tests.conftest import make_faces, write_csv, write_folder

COLUMNS = ["emotion", "pixels", "Usage"]


def rows_of(faces: Faces, split: str, blank: str = "") -> list[dict[str, str]]:
    return [
        {
            "emotion": str(label),
            f"{blank}pixels": " ".join(map(str, image.ravel())),
            f"{blank}Usage": USAGES[split],
        }
        for image, label in zip(faces.images[::-1], faces.labels[::-1], strict=True)
    ]


def test_all_three_forms_give_the_same_arrays(tmp_path: Path) -> None:
    splits = {"train": make_faces(35), "validation": make_faces(14, 1), "test": make_faces(14, 2)}
    kaggle, icml, folder = tmp_path / "fer2013.csv", tmp_path / "icml.csv", tmp_path / "fer2013"
    rows = [row for split, faces in splits.items() for row in rows_of(faces, split)]
    write_csv(kaggle, COLUMNS, rows)
    rows = [row for split, faces in splits.items() for row in rows_of(faces, split, " ")]
    write_csv(icml, ["emotion", " Usage", " pixels"], rows)
    for split, faces in splits.items():
        write_folder(folder, split, faces)
    for split, faces in splits.items():
        loaded = [load_split(path, split) for path in (kaggle, icml, folder)]
        assert len({one.digest() for one in loaded}) == 1
        np.testing.assert_array_equal(np.sort(loaded[0].labels), np.sort(faces.labels))
        assert loaded[0].images.shape == (len(faces), 48, 48)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pixels", "1 2 3", "line 3: 3 pixels"),
        ("pixels", " ".join(["300"] * 2304), "line 3: pixel '300', expected a whole number from 0"),
        ("pixels", "7 x", "line 3: pixel 'x', expected a whole number from 0 to 255"),
        ("pixels", "7 -1", "line 3: pixel '-1'"),
        ("emotion", "7", "line 3: unknown label '7'"),
        ("emotion", "happy", "line 3: unknown label"),
        ("Usage", "Trainig", "line 3: unknown usage 'Trainig'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, field: str, value: str, words: str) -> None:
    rows = rows_of(make_faces(7), "train")
    rows[1][field] = value
    write_csv(tmp_path / "bad.csv", COLUMNS, rows)
    with pytest.raises(DataError, match=words):
        load_split(tmp_path / "bad.csv", "train")


def test_a_face_is_found_again_where_it_is_said_to_stand(tmp_path: Path) -> None:
    faces = make_faces(14)
    write_folder(tmp_path / "folder", "train", faces)
    located, places = locate_split(tmp_path / "folder", "train")
    for image, place in zip(located.images, places, strict=True):
        np.testing.assert_array_equal(image, Image.open(tmp_path / "folder" / place))
    rows = rows_of(faces, "train")
    write_csv(tmp_path / "faces.csv", COLUMNS, rows)
    lines = (tmp_path / "faces.csv").read_text().splitlines()
    located, places = locate_split(tmp_path / "faces.csv", "train")
    for image, place in zip(located.images, places, strict=True):
        assert " ".join(map(str, image.ravel())) in lines[int(place) - 1]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_csv(tmp_path / "bad.csv", ["emotion", "Usage"], [])
    with pytest.raises(DataError, match="no column pixels"):
        load_split(tmp_path / "bad.csv", "train")


def test_a_short_row_and_a_file_that_is_no_csv_are_named(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("emotion,pixels,Usage\n3,1 2 3\n")
    with pytest.raises(DataError, match="line 2: 2 fields, expected 3"):
        load_split(tmp_path / "short.csv", "train")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(DataError, match="not a csv file"):
        load_split(tmp_path / "binary.csv", "train")


def test_a_bad_image_is_named(data: Path) -> None:
    (data / "train" / "sad" / "broken.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"sad/broken\.png"):
        load_split(data, "train")


def test_a_broken_chunk_of_a_png_is_named(data: Path) -> None:
    file = next((data / "train" / "sad").iterdir())
    content = file.read_bytes()
    at = content.index(b"IDAT")
    file.write_bytes(content[:at] + b"I\0AT" + content[at + 4 :])
    with pytest.raises(DataError, match=rf"{file.name}: not a readable image"):
        load_split(data, "train")


def test_absent_data_is_named(tmp_path: Path, data: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        load_split(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="test"):
        load_split(data, "test")
    with pytest.raises(DataError, match="unknown split 'all'"):
        load_split(data, "all")


def test_duplicates_and_flat_images_go() -> None:
    faces = make_faces(14)
    flat = np.full((1, 48, 48), 9, np.uint8)
    images = np.concatenate([faces.images, faces.images[:2], faces.images[:1], flat])
    labels = np.concatenate([faces.labels, [3, 0, 3], [1]])
    kept = drop_duplicates(Faces(images, labels))
    assert len(kept) == 14
    # Two of three copies say 3.
    assert kept.labels[kept.pixels().index(faces.images[0].tobytes())] == 3


def test_the_same_images_are_known_with_and_without_duplicates() -> None:
    train, others = make_faces(14), make_faces(7, seed=1)
    train.images[0] = others.images[0] = 9
    others.images[1] = train.images[1]
    for known in (train, drop_duplicates(train)):
        assert others.absent_from(known).tolist() == [False, False, *[True] * 5]


def test_a_label_without_images_is_told(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for file in (data / "train" / "disgust").iterdir():
        file.unlink()
    assert len(load_split(data, "train")) == 60
    assert [record.getMessage() for record in caplog.records] == [
        f"{data}: the train split has no image of disgust"
    ]


def test_a_folder_that_is_no_label_is_refused(data: Path) -> None:
    (data / "train" / "anger").mkdir()
    with pytest.raises(DataError, match="anger: not a label"):
        load_split(data, "train")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("I;16", (48, 48)), "its pixels are of mode I;16"),
        (Image.new("RGBA", (48, 48)), "its pixels are of mode RGBA"),
        (Image.new("L", (48, 48)), "lies turned"),
        (Image.new("P", (48, 48)), "has transparent parts"),
    ],
)
def test_images_that_the_service_would_see_otherwise_are_refused(
    image: Image.Image, words: str, data: Path
) -> None:
    exif = Image.Exif()
    if image.mode == "L":
        exif[ExifTags.Base.Orientation] = 3
    if image.mode == "P":
        image.info["transparency"] = 0
    image.save(data / "train" / "sad" / "odd.png", exif=exif)
    file = data / "train" / "sad" / "odd.png"
    with pytest.raises(DataError, match=f"^{re.escape(f'{file}: {words}')}"):
        load_split(data, "train")


def test_files_that_are_left_out_are_told(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("face.webp", "note.txt", ".hidden"):
        (data / "train" / "sad" / name).write_bytes(b"")
    assert len(load_split(data, "train")) == 70
    assert [record.getMessage() for record in caplog.records] == [
        f"{data / 'train' / 'sad'}: left out 2 files, not .jpeg, .jpg, .png"
    ]


def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    write_csv(tmp_path / "faces.csv", COLUMNS, rows_of(make_faces(7), "train"))
    marked = b"\xef\xbb\xbf" + (tmp_path / "faces.csv").read_bytes()
    (tmp_path / "faces.csv").write_bytes(marked)
    assert len(load_split(tmp_path / "faces.csv", "train")) == 7


def test_an_undefined_turn_is_none(data: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 0
    Image.new("L", (48, 48)).save(data / "train" / "sad" / "upright.jpg", exif=exif)
    assert len(load_split(data, "train")) == 71
