"""Images read and put together for one request each."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from facial_emotion_client.results import Failure

Image = bytes | Path
"""An encoded image (JPEG, PNG, WebP, BMP), or where it lies."""

MAX_BYTES: Final = 32 * 2**20
"""The service's default for the bytes of one request."""

_FORM_BYTES: Final = 256
"""More than the boundary and headers of one part of a form, or its end, take."""


def read_image(image: Image) -> bytes:
    """The image's bytes.

    Raises:
        TypeError: it is neither bytes nor a path.
        OSError: the file cannot be read.
    """
    _check(image)
    return image.read_bytes() if isinstance(image, Path) else image


def make_groups(
    images: Iterable[Image], group_size: int, max_bytes: int
) -> Iterator[list[bytes | Failure]]:
    """The images in order, as groups for one request each; at most one group is in memory.

    Args:
        images: to read.
        group_size: most images in a group.
        max_bytes: largest request.

    Yields:
        Bytes, or why they cannot be sent, for each image.

    Raises:
        TypeError: an image is neither bytes nor a path.
        ValueError: `group_size` is not positive.
    """
    if group_size < 1:
        raise ValueError(f"group_size is {group_size}, not positive")
    group: list[bytes | Failure] = []
    size = _FORM_BYTES
    for image in images:
        item = _load(image, max_bytes - 2 * _FORM_BYTES)
        weight = 0 if isinstance(item, Failure) else len(item) + _FORM_BYTES
        if group and (len(group) == group_size or size + weight > max_bytes):
            yield group
            group, size = [], _FORM_BYTES
        group.append(item)
        size += weight
    if group:
        yield group


def _load(image: Image, limit: int) -> bytes | Failure:
    _check(image)
    if isinstance(image, Path):
        try:
            image = _read(image, limit)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return Failure("unreadable_file", f"{reason or error}.")
    if len(image) > limit:
        return Failure("body_too_large", f"The image is over {limit} bytes.")
    return image


def _read(path: Path, limit: int) -> bytes:
    # Opening a pipe would wait for its writer for ever.
    if path.exists() and not path.is_file():
        raise OSError("Not a regular file")
    with path.open("rb") as file:
        return file.read(limit + 1)


def _check(image: object) -> None:
    if not isinstance(image, bytes | Path):
        raise TypeError(f"an image is bytes or a pathlib.Path, not {type(image).__name__}")
