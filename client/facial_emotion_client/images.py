"""Which files of a folder are images, and what each of them is."""

import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ENDINGS: Final = (".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".webp")
"""Of names taken for images, in any case."""

_DOUBLE: Final = "._"
"""What macOS keeps beside a file on foreign disks, under the file's name after this."""

_BEGINNING: Final = 64 * 2**10


@dataclass
class Found:
    """What is below a folder.

    Attributes:
        names: of the images, relative to the folder, sorted.
        others: how many files that are not hidden have which other ending.
        closed: folders that cannot be read; not hidden ones, as each disk has.
    """

    names: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    closed: list[str] = field(default_factory=list)


def find_images(folder: Path, out: Path) -> Found:
    """The images below a folder.

    Args:
        folder: searched with all folders in it.
        out: the table, which may lie there and is not counted.

    Raises:
        OSError: it is no folder or cannot be read, or no image is in it.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    errors: list[OSError] = []
    found = Found()
    walk = os.walk(folder, onerror=errors.append)
    for path in (Path(place, name) for place, _, names in walk for name in names):
        name, ending = path.relative_to(folder), path.suffix.lower()
        if ending in ENDINGS and not path.name.startswith(_DOUBLE):
            found.names.append(name.as_posix())
        elif not _is_hidden(name) and not _is_same(path, out):
            found.others[ending] += 1
    if errors and not found.names:
        raise errors[0]
    if not found.names:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(ENDINGS)})")
    found.names.sort()
    places = [Path(os.fsdecode(e.filename)) for e in errors if not isinstance(e, FileNotFoundError)]
    found.closed = [str(p) for p in places if not _is_hidden(p.relative_to(folder))]
    return found


def fingerprint(path: Path) -> str | None:
    """Tells a file from others of its name: its size and a checksum of its first 64 KiB.

    The size alone is the same for all bitmaps of one width and height; all of the bytes would
    have to be read again, over the network perhaps, before a large table goes on.

    Returns:
        None where the file cannot be read.
    """
    try:
        # Opening a pipe would wait for its writer for ever.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            size, beginning = path.stat().st_size, file.read(_BEGINNING)
    except OSError:
        return None
    return f"{size}-{zlib.crc32(beginning):08x}"


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _is_same(path: Path, out: Path) -> bool:
    return path.name == out.name and out.exists() and path.samefile(out)
