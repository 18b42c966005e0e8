"""FER2013 from any of its three published forms, as the same uint8 arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.data.faces import Amiss, Faces, refuse
from search.data.folder import read_folder
from search.data.notice import warn_once
from search.data.table import USAGES, read_table
from search.errors import AbsentSplitError, DataError
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE


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


def locate_split(path: Path, split: str, amiss: Amiss = refuse) -> tuple[Faces, list[str]]:
    """Read one split as `load_split` does, and note where its faces stand.

    Args:
        path: as for `load_split`.
        split: as for `load_split`.
        amiss: told of each face that cannot be read.

    Returns:
        The faces, and for each its file under the folder or its line in the csv file.

    Raises:
        DataError: as `load_split`.
    """
    if split not in USAGES:
        raise DataError(f"unknown split {split!r}, expected one of {', '.join(USAGES)}")
    if path.is_dir():
        rows = list(read_folder(path, split, amiss))
    elif path.is_file():
        rows = list(read_table(path, split, amiss))
    else:
        raise DataError(f"{path}: no such file or folder")
    if not rows:
        raise AbsentSplitError(f"{path}: no image of the {split} split")
    rows.sort(key=lambda row: (row[0], row[1]))
    pixels = np.frombuffer(b"".join(image for _, image, _ in rows), np.uint8)
    labels = np.array([label for label, _, _ in rows], np.int64)
    for index in np.flatnonzero(np.bincount(labels, minlength=len(LABELS)) == 0):
        warn_once(f"{path}: the {split} split has no image of {LABELS[index]}")
    faces = Faces(pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), labels)
    return faces, [place for _, _, place in rows]
