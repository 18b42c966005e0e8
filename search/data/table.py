"""Faces of a csv file, as Kaggle published FER2013."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from search.data.faces import Amiss, Row, refuse
from search.errors import DataError, FaceError
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE

USAGES: Final = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""The splits and the names that csv files give them."""


def read_table(path: Path, split: str, amiss: Amiss = refuse) -> Iterator[Row]:
    """Label, pixels and line of each face of a split.

    Raises:
        DataError: not a csv file.
        FaceError: by `amiss`, a row is malformed.
    """
    # Spreadsheets begin a csv file with a byte order mark.
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            yield from _parse_rows(path, csv.reader(file), split, amiss)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not a csv file ({error})") from None


def _parse_rows(path: Path, rows: Iterator[list[str]], split: str, amiss: Amiss) -> Iterator[Row]:
    # icml_face_data.csv has a blank before its column names.
    columns = [name.strip().lower() for name in next(rows, [])]
    missing = {"emotion", "pixels", "usage"} - set(columns)
    if missing:
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}")
    emotion, pixels, use = (columns.index(name) for name in ("emotion", "pixels", "usage"))
    for number, row in enumerate(rows, start=2):
        try:
            if len(row) <= max(emotion, pixels, use):
                raise ValueError(f"{len(row)} fields, expected {len(columns)}")
            if _parse_usage(row[use]) == USAGES[split]:
                yield _parse_label(row[emotion]), _parse_pixels(row[pixels]), str(number)
        except ValueError as error:
            amiss(FaceError(path, split, str(number), str(error)))


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
