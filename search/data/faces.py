"""Faces with their labels, in memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.errors import FaceError
from service.labels import LABELS

Row = tuple[int, bytes, str]
"""Label, pixels and place of one face."""

Amiss = Callable[[FaceError], None]
"""What is told of a face that cannot be read; where it returns, the face is left out."""


def refuse(error: FaceError) -> None:
    """One face that cannot be read is one too many."""
    raise error


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

    def count_labels(self) -> NDArray[np.intp]:
        """Faces of each label, shape (7,), in the order of `LABELS`."""
        return np.bincount(self.labels, minlength=len(LABELS))

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
