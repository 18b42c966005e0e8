"""FER2013 from any of its three published forms, as the same uint8 arrays."""

import csv
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from search.errors import AbsentSplitError, DataError
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE

LOG: Final = logging.getLogger(__name__)

USAGES: Final = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""The splits and the names that the csv forms give them."""

Row = tuple[int, bytes, str]
"""Label, pixels and place of one face."""

IMAGE_SUFFIXES: Final = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Faces:
    """Faces in canonical order, so that every published form gives equal arrays.

    Attributes:
        images: uint8, shape (N, 48, 48), grey levels 0 to 255.
        labels: int64, shape (N,), indices into `service.labels.LABELS`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self) -> list[bytes]:
        """The pixels of each image as bytes, to compare images exactly."""
        return [image.tobytes() for image in self.images]

    def blank(self) -> NDArray[np.bool_]:
        """Whether every pixel of an image has the same grey level, shape (N,)."""
        blank: NDArray[np.bool_] = np.ptp(self.images, axis=(1, 2)) == 0
        return blank

    def absent_from(self, others: "Faces") -> NDArray[np.bool_]:
        """Whether an image does not also stand among the others, to the byte, shape (N,).

        Images of a single colour count as known, also where `drop_duplicates` left them out.
        """
        known = set(others.pixels())
        return np.array([pixels not in known for pixels in self.pixels()], bool) & ~self.blank()

    def digest(self) -> str:
        """SHA-256 (hex) over labels and pixels."""
        return hashlib.sha256(self.labels.tobytes() + self.images.tobytes()).hexdigest()

    def select(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Faces":
        """The named rows only."""
        return Faces(self.images[rows], self.labels[rows])


def load_split(path: Path, split: str) -> Faces:
    """Read one split of FER2013.

    Args:
        path: Kaggle's `fer2013.csv`, `icml_face_data.csv`, or a folder that holds
            `<split>/<label>/<image>`.
        split: `train`, `validation` or `test`.

    Returns:
        The faces ordered by label, then pixels.

    Raises:
        AbsentSplitError: the data set has no image of this split.
        DataError: nothing there, or a malformed row or an unreadable image (named).
    """
    return locate_split(path, split)[0]


def load_own_validation(path: Path, card: Mapping[str, Any]) -> Faces:
    """The validation split that a model's card tells figures of.

    Raises:
        DataError: as `load_split`, or the card names another validation split.
    """
    faces = load_split(path, "validation")
    check_own_validation(path, faces, card)
    return faces


def check_own_validation(path: Path, faces: Faces, card: Mapping[str, Any]) -> None:
    """Refuse faces, read from `path`, that are not the validation split of a card's figures.

    Raises:
        DataError: the card names another one.
    """
    known = card.get("data", {}).get("validation_sha256")
    if known not in (None, faces.digest()):
        raise DataError(
            f"{path}: not the validation images of the model's card, whose figures would then "
            "be of other faces; `evaluate` and `report` measure on any"
        )


def locate_split(path: Path, split: str) -> tuple[Faces, list[str]]:
    """Read one split as `load_split` does, and note where its faces stand.

    Returns:
        The faces, and for each its file under the folder or its line in the csv file.

    Raises:
        DataError: as `load_split`.
    """
    if split not in USAGES:
        raise DataError(f"unknown split {split!r}, expected one of {', '.join(USAGES)}")
    if path.is_dir():
        rows = list(_read_folder(path, split))
    elif path.is_file():
        rows = list(_read_csv(path, USAGES[split]))
    else:
        raise DataError(f"{path}: no such file or folder")
    if not rows:
        raise AbsentSplitError(f"{path}: no image of the {split} split")
    rows.sort(key=lambda row: (row[0], row[1]))
    pixels = np.frombuffer(b"".join(image for _, image, _ in rows), np.uint8)
    labels = np.array([label for label, _, _ in rows], np.int64)
    for index in np.flatnonzero(np.bincount(labels, minlength=len(LABELS)) == 0):
        _warn_once(f"{path}: the {split} split has no image of {LABELS[index]}")
    faces = Faces(pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), labels)
    return faces, [place for _, _, place in rows]


def drop_duplicates(faces: Faces) -> Faces:
    """Keep one of each group of identical images and none of a single colour.

    Where copies carry different labels the most frequent one stays, the first on a tie.
    """
    votes: dict[bytes, list[int]] = {}
    for row, key in enumerate(faces.pixels()):
        votes.setdefault(key, []).append(row)
    kept = []
    for rows in votes.values():
        counts = np.bincount(faces.labels[rows])
        winner = next(row for row in rows if faces.labels[row] == counts.argmax())
        if np.ptp(faces.images[winner]):
            kept.append(winner)
    return faces.select(np.sort(np.array(kept, np.intp)))


@cache
def _warn_once(text: str) -> None:
    """Tell what is amiss; a training reads its splits several times."""
    LOG.warning("%s", text)


def _read_csv(path: Path, usage: str) -> Iterator[Row]:
    # Spreadsheets begin a csv file with a byte order mark.
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            yield from _parse_rows(path, csv.reader(file), usage)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not a csv file ({error})") from None


def _parse_rows(path: Path, rows: Iterator[list[str]], usage: str) -> Iterator[Row]:
    # icml_face_data.csv has a blank before its column names.
    columns = [name.strip().lower() for name in next(rows, [])]
    missing = {"emotion", "pixels", "usage"} - set(columns)
    if missing:
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}")
    emotion, pixels, use = (columns.index(name) for name in ("emotion", "pixels", "usage"))
    for number, row in enumerate(rows, start=2):
        try:
            if _parse_usage(row[use]) == usage:
                yield _parse_label(row[emotion]), _parse_pixels(row[pixels]), str(number)
        except IndexError:
            words = f"{len(row)} fields, expected {len(columns)}"
            raise DataError(f"{path}, line {number}: {words}") from None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None


def _parse_usage(text: str) -> str:
    usage = text.strip()
    if usage not in USAGES.values():
        raise ValueError(f"unknown usage {text!r}, expected {', '.join(USAGES.values())}")
    return usage


def _parse_label(text: str) -> int:
    if text.strip() not in map(str, range(len(LABELS))):
        raise ValueError(f"unknown label {text!r}, expected 0 to {len(LABELS) - 1}")
    return int(text)


def _parse_pixels(text: str) -> bytes:
    words = text.split()
    try:
        pixels = bytes(map(int, words))
    except ValueError:
        wrong = next(word for word in words if not _is_grey_level(word))
        raise ValueError(f"pixel {wrong[:20]!r}, expected a whole number from 0 to 255") from None
    if len(pixels) != IMAGE_SIZE**2:
        raise ValueError(f"{len(pixels)} pixels, expected {IMAGE_SIZE**2}")
    return pixels


def _is_grey_level(word: str) -> bool:
    return word.isdecimal() and len(word) <= 3 and int(word) <= 255


def _read_folder(path: Path, split: str) -> Iterator[Row]:
    folder = path / split
    if not folder.is_dir():
        raise AbsentSplitError(f"{folder}: no such folder")
    strange = {file.name for file in folder.iterdir() if file.is_dir()} - set(LABELS)
    if strange:
        raise DataError(f"{folder / min(strange)}: not a label, expected {', '.join(LABELS)}")
    for index, label in enumerate(LABELS):
        if not (folder / label).is_dir():
            continue
        files = sorted(file for file in (folder / label).iterdir() if not _is_hidden(file))
        wanted = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if len(wanted) < len(files):
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            left_out = len(files) - len(wanted)
            _warn_once(f"{folder / label}: left out {left_out} files, not {kinds}")
        for file in wanted:
            yield index, _read_image(file), file.relative_to(path).as_posix()


def _is_hidden(file: Path) -> bool:
    return file.name.startswith(".") or file.name in ("Thumbs.db", "desktop.ini")


def _read_image(file: Path) -> bytes:
    try:
        with Image.open(file) as image:
            ambiguity = _find_ambiguity(image)
            grey = image if ambiguity else image.convert("L")
    # Pillow's parsers of PNG raise the last two on broken chunks.
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise DataError(f"{file}: not a readable image ({error})") from None
    if ambiguity:
        raise DataError(f"{file}: {ambiguity}")
    if grey.size != (IMAGE_SIZE, IMAGE_SIZE):
        raise DataError(f"{file}: {grey.width}x{grey.height}, expected {IMAGE_SIZE}x{IMAGE_SIZE}")
    return grey.tobytes()


def _find_ambiguity(image: Image.Image) -> str | None:
    """What a plain conversion to grey levels would show otherwise than the service does."""
    if image.mode not in ("1", "L", "P", "RGB"):
        return f"its pixels are of mode {image.mode}, expected 8-bit grey levels or RGB"
    if image.has_transparency_data:
        return "has transparent parts, expected none"
    turn = 1
    # The service takes damaged metadata for none, too.
    with suppress(Exception):
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn in range(2, 9):
        return "lies turned, as its EXIF orientation says; expected upright"
    return None
