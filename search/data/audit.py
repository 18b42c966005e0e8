"""Faults of a data set: copies, copies with other labels, copies across splits, blank images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from search.data.faces import Faces
from search.data.splits import locate_split
from search.data.table import USAGES
from search.errors import AbsentSplitError, DataError, FaceError

FAULTS: Final = {
    "blank": "every pixel has the same grey level",
    "copy": "an earlier image of the split has the same pixels",
    "disputed": "the same pixels carry another label in the split",
    "leaked": "the same pixels stand in an earlier split",
}
"""What each fault means."""


@dataclass(frozen=True)
class Audit:
    """Faults of one split.

    Attributes:
        faces: the split.
        places: file or line of each of its N faces.
        faults: by name (`blank`, `copy`, `disputed`, `leaked`) the rows with this fault, rising,
            each with the place of the image that it repeats or contradicts; empty for `blank`.
        pairs: two rows with the same pixels and different labels, for each contradiction.
        unreadable: images that are none of its faces, and why.
    """

    faces: Faces
    places: Sequence[str]
    faults: Mapping[str, Mapping[int, str]]
    pairs: Sequence[tuple[int, int]]
    unreadable: list[FaceError] = field(default_factory=list)


def audit_splits(data: Path) -> dict[str, Audit]:
    """Look through every split that is there.

    Raises:
        DataError: there is no split at all, or no image that can be read.
    """
    audits: dict[str, Audit] = {}
    earlier: dict[bytes, str] = {}
    found: list[FaceError] = []
    for split in USAGES:
        try:
            faces, places = locate_split(data, split, found.append)
        except AbsentSplitError:
            continue
        audits[split] = audit_faces(faces, places, earlier)
        for pixels, place in zip(faces.pixels(), places, strict=True):
            earlier.setdefault(pixels, place)
    # A line of no known split is met while each of them is read; the first time counts.
    unreadable = {error.place: error for error in reversed(found)}
    if not audits:
        raise found[0] if found else DataError(f"{data}: no split of FER2013")
    # What belongs to a split without a readable image is told with the first one that has some.
    first = next(iter(audits))
    for error in reversed(unreadable.values()):
        name = error.split if error.split in audits else first
        audits[name].unreadable.append(error)
    return audits


def audit_faces(faces: Faces, places: Sequence[str], earlier: Mapping[bytes, str]) -> Audit:
    """Look through one split.

    Args:
        faces: the split.
        places: where each of its faces stands.
        earlier: pixels of the splits before it and where they stand.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, pixels in enumerate(faces.pixels()):
        groups[pixels].append(row)
    faults: dict[str, dict[int, str]] = {name: {} for name in FAULTS}
    faults["blank"] = {int(row): "" for row in np.flatnonzero(faces.blank())}
    pairs = []
    for pixels, rows in groups.items():
        faults["copy"] |= dict.fromkeys(rows[1:], places[rows[0]])
        if pixels in earlier:
            faults["leaked"] |= dict.fromkeys(rows, earlier[pixels])
        first, *others = find_firsts(faces, rows)
        pairs += [(first, other) for other in others]
        if others:
            for row in rows:
                agrees = faces.labels[row] == faces.labels[first]
                faults["disputed"][row] = places[others[0] if agrees else first]
    ordered = {name: dict(sorted(rows.items())) for name, rows in faults.items()}
    return Audit(faces, places, ordered, sorted(pairs))


def find_firsts(faces: Faces, rows: Sequence[int]) -> list[int]:
    """The first of these rows with each label."""
    firsts: dict[int, int] = {}
    for row in rows:
        firsts.setdefault(int(faces.labels[row]), row)
    return list(firsts.values())
