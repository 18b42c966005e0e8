"""The report of an audit: counts, pictures of the faults and a list of them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from search.data.audit import FAULTS, Audit, audit_splits
from search.report.faces_figure import draw_faces
from search.report.page import Picture, Table, write_page
from service.labels import LABELS

SHOWN: Final = 24
"""Faces in each picture; an even number, so that no pair is cut."""

TONES: Final = (
    "0 to 255. Brightness is the mean of an image, contrast the standard deviation within it. "
    "Equalised images have about 128 and 74, most photographs less contrast."
)


def write_audit(data: Path, out: Path) -> str:
    """Write `audit.html` with its pictures and `faults.csv` into `out`.

    Returns:
        The counts and where page and list lie, as text.

    Raises:
        DataError: as `audit_splits`.
    """
    audits = audit_splits(data)
    faults, tones = count_faults(audits), tabulate_tones(audits)
    pictures = [
        picture
        for split, audit in audits.items()
        for name in FAULTS
        if (picture := draw_fault(split, name, audit))
    ]
    parts: list[Picture | Table] = [faults, tones, count_classes(audits), *pictures]
    parts[1:1] = list_unreadable(audits)
    write_page(out / "audit.html", f"Audit of {data.name}", parts)
    write_faults(out / "faults.csv", audits, "file" if data.is_dir() else "line")
    lines = [*align(faults), *align(tones)]
    places = [f"page: {out / 'audit.html'}", f"list: {out / 'faults.csv'}"]
    return "\n".join([*lines, *tell_lacking(audits), *places])


def align(table: Table) -> list[str]:
    """A table as text, a line a row."""
    return ["  ".join(f"{cell:>12}" for cell in row) for row in (table.header, *table.rows)]


def tell_lacking(audits: Mapping[str, Audit]) -> list[str]:
    """What a training would lack: its splits, and labels within them."""
    absent = [f"no {split} split" for split in ("train", "validation") if split not in audits]
    counts = {split: a.faces.count_labels() for split, a in audits.items()}
    return absent + [
        f"the {split} split has no image of {label}"
        for split, found in counts.items()
        for label, count in zip(LABELS, found, strict=True)
        if not count
    ]


def count_faults(audits: Mapping[str, Audit]) -> Table:
    """Images with each fault, a row a split."""
    rows = [
        [
            split,
            str(len(audit.faces)),
            *(str(len(rows)) for rows in audit.faults.values()),
            str(len(audit.unreadable)),
        ]
        for split, audit in audits.items()
    ]
    header = ("split", "images", *FAULTS, "unreadable")
    text = "; ".join(f"{name}: {caption}" for name, caption in FAULTS.items())
    return Table("Faults", header, rows, text)


def list_unreadable(audits: Mapping[str, Audit]) -> list[Table]:
    """A table of what cannot be read, and so was looked at no further; none where all can."""
    found = [error for audit in audits.values() for error in audit.unreadable]
    rows = [[error.split, error.place, error.reason] for error in found]
    return [Table("Unreadable", ("split", "image", "reason"), rows)] if rows else []


def count_classes(audits: Mapping[str, Audit]) -> Table:
    """Images of each label, a row a split."""
    rows = [[split, *map(str, audit.faces.count_labels())] for split, audit in audits.items()]
    return Table("Images of each label", ("split", *LABELS), rows)


def tabulate_tones(audits: Mapping[str, Audit]) -> Table:
    """Mean and standard deviation over the images of two measures, a row a split."""
    rows = []
    for split, audit in audits.items():
        pixels = audit.faces.images.reshape(len(audit.faces), -1)
        measures = (pixels.mean(1), pixels.std(1))
        rows.append([split, *(f"{each.mean():.1f} ± {each.std():.1f}" for each in measures)])
    return Table("Grey levels", ("split", "brightness", "contrast"), rows, TONES)


def draw_fault(split: str, name: str, audit: Audit) -> Picture | None:
    """Faces with a fault, evenly from all of them; None where there are none to show.

    Of a contradiction both sides stand side by side. Copies and contradictions leave out blank
    images, which repeat each other and have a picture of their own.
    """
    blank = audit.faults["blank"]
    hidden = blank if name in ("copy", "disputed") else {}
    found: list[tuple[int, ...]] = [(row,) for row in audit.faults[name]]
    if name == "disputed":
        found = list(audit.pairs)
    found = [rows for rows in found if rows[0] not in hidden]
    if not found:
        return None
    shown = spread(found, SHOWN // len(found[0]))
    faces = audit.faces.select(np.array(shown).ravel())
    words = [LABELS[label] for label in faces.labels]
    if name == "disputed":
        words = [f"{place // 2 + 1}: {word}" for place, word in enumerate(words)]
    what = "pairs, the same image under both its labels" if name == "disputed" else "images"
    without = ", without the blank ones" if hidden else ""
    caption = f"{FAULTS[name]}. {len(shown)} of {len(found)} {what}{without}; "
    figure = draw_faces(faces.images, words)
    return Picture(f"{split}-{name}", f"{split}: {name}", f"{caption}faults.csv has all.", figure)


def spread(found: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """At most `count` of them, evenly from the first to the last."""
    places = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return [found[place] for place in places]


def write_faults(path: Path, audits: Mapping[str, Audit], place: str) -> None:
    """One csv row a fault; `place` is the name of the column that says where the image stands."""
    # File names need not be UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", place, "label", "fault", f"other_{place}", "reason"])
        for split, audit in audits.items():
            for name, rows in audit.faults.items():
                for row, other in rows.items():
                    label = LABELS[audit.faces.labels[row]]
                    writer.writerow([split, audit.places[row], label, name, other, ""])
            for error in audit.unreadable:
                label = PurePath(error.place).parent.name
                writer.writerow([split, error.place, label, "unreadable", "", error.reason])
