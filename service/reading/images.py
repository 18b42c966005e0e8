"""Request bytes to a face or a picture, within limits of size and time.

Of an image with several frames the first one counts.
"""

import io
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from service.errors import RequestError, late
from service.preprocess import IMAGE_SIZE
from service.reading import formats
from service.reading.pixels import draft_face, draft_picture, to_face, to_picture

_MAX_SIDE: Final = 2**31 - 1
"""Largest side a file may name; BMP's negative widths are read as more."""

_LARGE_PIXELS: Final = 8_000_000
_LARGE: Final = threading.Lock()
"""Held while an image over `_LARGE_PIXELS` is decoded that takes memory for each: one at a time in
a worker, because WebP takes 16 bytes a pixel, PNG up to 13, progressive JPEG up to 9, and a JPEG
that is too narrow to be reduced 4."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is decoded, in pixels (width x height).

    Attributes:
        pixels: most in an image.
        whole_pixels: most in one that is not a JPEG: only JPEG is decoded at reduced scale.
        quick_pixels: most in one that is decoded now; `NotQuickError` for more.
        quick_bytes: largest JPEG file that is decoded now; the same.
    """

    pixels: int
    whole_pixels: int
    quick_pixels: int | None = None
    quick_bytes: int | None = None


class NotQuickError(Exception):
    """The image takes long, and should be decoded where no other waits for it."""


# The limit is checked from the header, with a clear error, before Pillow's own check.
Image.MAX_IMAGE_PIXELS = None


def decode_face(
    content: bytes, limits: Limits, deadline: float = float("inf")
) -> tuple[NDArray[np.uint8], int]:
    """Decode an image into the network's input.

    Args:
        content: an encoded image.
        limits: the most that is decoded.
        deadline: when to give up, on the clock of `time.monotonic`.

    Returns:
        The face, uint8 (48, 48), and the width x height that was decoded.

    Raises:
        RequestError: 400 empty, 413 too many pixels, 415 not a supported format,
            422 damaged, 503 the deadline passed.
        NotQuickError: over `limits.quick_pixels` or `limits.quick_bytes`.
    """
    with _opened(content, limits, deadline) as image:
        pixels = image.width * image.height
        square = draft_face(image)
        with _turn_of(image, content, pixels, deadline):
            return np.array(to_face(image, content, square)), pixels


def decode_picture(
    content: bytes, limits: Limits, deadline: float = float("inf")
) -> tuple[Image.Image, float, int]:
    """Decode an image whole, to look for faces in it.

    Args:
        content: an encoded image.
        limits: the most that is decoded.
        deadline: when to give up, on the clock of `time.monotonic`.

    Returns:
        The picture in RGB, turned as EXIF says and reduced to `PICTURE_SIDE` at most; its
        size as a share of the file's; the width x height that was decoded.

    Raises:
        RequestError, NotQuickError: as `decode_face`.
    """
    with _opened(content, limits, deadline) as image:
        pixels, longest = image.width * image.height, max(image.size)
        draft_picture(image)
        with _turn_of(image, content, pixels, deadline):
            picture = to_picture(image, content)
        return picture, max(picture.size) / longest, pixels


@contextmanager
def _opened(content: bytes, limits: Limits, deadline: float) -> Iterator[Image.Image]:
    """The image, its header checked; errors of its decoder become `RequestError`."""
    if not content:
        raise RequestError(400, "empty_file", "The file is empty.")
    name = formats.find_format(content)
    if name == "JPEG" and limits.quick_bytes is not None and len(content) > limits.quick_bytes:
        raise NotQuickError
    if name is None:
        text = f"Not an image in a supported format ({', '.join(formats.FORMATS)})."
        raise RequestError(415, "unsupported_format", text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            formats.check(name, content)
            image = Image.open(_open(content, deadline), formats=[name])
            _check_pixels(image, name, limits)
            yield image
            return
        except formats.FormatError as error:
            text = f"The {name} image is refused: {error}."
        except (RequestError, NotQuickError):
            raise
        # Pillow's decoders raise many kinds of errors on damaged files.
        except Exception:
            text = f"The {name} image is truncated or damaged."
    raise RequestError(422, "invalid_image", text)


def _open(content: bytes, deadline: float) -> io.BytesIO:
    # A decoder reads so little at once; a watch on its many header reads costs a tenth of it all.
    return io.BytesIO(content) if len(content) <= ImageFile.MAXBLOCK else _Timed(content, deadline)


class _Timed(io.BytesIO):
    """A file that stops a decoder at its next read once the deadline has passed."""

    def __init__(self, content: bytes, deadline: float) -> None:
        super().__init__(content)
        self.deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self.deadline:
            raise late()
        return super().read(size)


def _check_pixels(image: Image.Image, name: str, limits: Limits) -> None:
    # By the name of the file's format: Pillow calls a JPEG with several pictures MPO.
    if max(image.size) > _MAX_SIDE or min(image.size) < 1:
        raise formats.FormatError("its header names an impossible size")
    pixels = image.width * image.height
    most = limits.pixels if name == "JPEG" else min(limits.pixels, limits.whole_pixels)
    if pixels > most:
        text = f"{image.width}x{image.height} are {pixels:,} pixels; a {name} may have {most:,}"
        text += f", a JPEG {limits.pixels:,}." if pixels <= limits.pixels else "."
        raise RequestError(413, "too_many_pixels", text)
    if limits.quick_pixels is not None and pixels > limits.quick_pixels:
        raise NotQuickError


def _turn_of(
    image: Image.Image, content: bytes, pixels: int, deadline: float
) -> AbstractContextManager[None]:
    """A large image's turn; others need none.

    Args:
        image: a JPEG's size is that at which it is to be decoded.
        content: its file.
        pixels: width x height in the file.
        deadline: when to give up waiting.
    """
    if pixels <= _LARGE_PIXELS:
        return nullcontext()
    streamed = image.format in ("JPEG", "MPO") and formats.is_streamed(content)
    if streamed and image.width * image.height <= _LARGE_PIXELS:
        return nullcontext()
    return _turn_to_decode(deadline)


@contextmanager
def _turn_to_decode(deadline: float) -> Iterator[None]:
    if not _LARGE.acquire(timeout=min(max(0, deadline - time.monotonic()), 3600)):
        raise late()
    try:
        yield
    finally:
        _LARGE.release()


def warm_up() -> None:
    """Load Pillow's parsers now rather than at the first request."""
    face = Image.new("L", (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
    for name in formats.FORMATS:
        buffer = io.BytesIO()
        face.save(buffer, name)
        decode_face(buffer.getvalue(), Limits(pixels=10**4, whole_pixels=10**4))
