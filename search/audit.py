"""Faults of a data set: copies, copies with other labels, copies across splits, blank images."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from search.data import USAGES, Faces, load_split
from search.errors import AbsentSplitError, DataError
from search.faces_figure import draw_faces
from search.page import Picture, Table, write_page
from service.labels import LABELS

SHOWN: Final = 24
"""Faces of each fault on the page."""


@dataclass(frozen=True)
class Audit:
    """Rows with a fault in one split; each array is bool of shape (N,).

    Attributes:
        faces: the split.
        blank: every pixel has the same grey level.
        copy: an earlier image of the split has the same pixels.
        disputed: an image of the split has the same pixels and another label.
        leaked: an earlier split (train, validation, test) has the same pixels.
    """

    faces: Faces
    blank: np.ndarray
    copy: np.ndarray
    disputed: np.ndarray
    leaked: np.ndarray

    def faults(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        names = ("blank", "copy", "disputed", "leaked")
        return {name: getattr(self, name) for name in names}


def audit_splits(data: Path) -> dict[str, Audit]:
    """Look through every split that is there.

    Raises:
        DataError: a split is malformed, or there is none at all.
    """
    audits: dict[str, Audit] = {}
    earlier: set[bytes] = set()
    for split in USAGES:
        try:
            faces = load_split(data, split)
        except AbsentSplitError:
            continue
        audits[split] = audit_faces(faces, earlier)
        earlier |= set(faces.pixels())
    if not audits:
        raise DataError(f"{data}: no split of FER2013")
    return audits


def audit_faces(faces: Faces, earlier: set[bytes]) -> Audit:
    """Look through one split; `earlier` holds the pixels of the splits before it."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, pixels in enumerate(faces.pixels()):
        groups[pixels].append(row)
    copy, disputed, leaked = np.zeros((3, len(faces)), bool)
    for pixels, rows in groups.items():
        copy[rows[1:]] = True
        disputed[rows] = np.ptp(faces.labels[rows]) > 0
        leaked[rows] = pixels in earlier
    blank = np.ptp(faces.images, axis=(1, 2)) == 0
    return Audit(faces, blank, copy, disputed, leaked)


def write_audit(data: Path, out: Path) -> str:
    """Write `audit.html` with its pictures and `faults.csv` into `out`.

    Returns:
        The counts and where the page lies, as text.

    Raises:
        DataError: as `audit_splits`.
    """
    audits = audit_splits(data)
    faults, classes = count_faults(audits), count_classes(audits)
    pictures = [
        Picture(f"{split}-{name}", f"{split}: {name}", _caption(name), _draw(audit.faces, rows))
        for split, audit in audits.items()
        for name, rows in audit.faults().items()
        if rows.any()
    ]
    write_page(out / "audit.html", f"Audit of {data.name}", [classes, faults, *pictures])
    _write_faults(out / "faults.csv", audits)
    lines = ["  ".join(f"{cell:>10}" for cell in row) for row in (faults.header, *faults.rows)]
    return "\n".join([*lines, f"page: {out / 'audit.html'}"])


def count_faults(audits: dict[str, Audit]) -> Table:
    """Images with each fault, a row a split."""
    rows = [
        [split, str(len(audit.faces)), *(str(int(rows.sum())) for rows in audit.faults().values())]
        for split, audit in audits.items()
    ]
    header = ("split", "images", "blank", "copy", "disputed", "leaked")
    text = "; ".join(f"{name}: {_caption(name)}" for name in header[2:])
    return Table("Faults", header, rows, text)


def count_classes(audits: dict[str, Audit]) -> Table:
    """Images of each label, a row a split."""
    rows = [
        [split, *map(str, np.bincount(audit.faces.labels, minlength=len(LABELS)))]
        for split, audit in audits.items()
    ]
    return Table("Images of each label", ("split", *LABELS), rows)


def _caption(fault: str) -> str:
    return {
        "blank": "every pixel has the same grey level",
        "copy": "an earlier image of the split has the same pixels",
        "disputed": "the same pixels carry another label in the split",
        "leaked": "the same pixels stand in an earlier split",
    }[fault]


def _draw(faces: Faces, rows: np.ndarray) -> Figure:
    shown = faces.select(np.flatnonzero(rows)[:SHOWN])
    return draw_faces(shown.images, [LABELS[label] for label in shown.labels])


def _write_faults(path: Path, audits: dict[str, Audit]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "row", "label", "fault"])
        for split, audit in audits.items():
            for name, rows in audit.faults().items():
                for row in np.flatnonzero(rows):
                    writer.writerow([split, row, LABELS[audit.faces.labels[row]], name])
