"""Faces of a folder `<split>/<label>/<image>`."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image

from search.data.faces import Amiss, Row, refuse
from search.data.notice import warn_once
from search.errors import AbsentSplitError, DataError, FaceError
from service.labels import LABELS
from service.preprocess import IMAGE_SIZE

IMAGE_SUFFIXES: Final = {".jpg", ".jpeg", ".png"}


def read_folder(path: Path, split: str, amiss: Amiss = refuse) -> Iterator[Row]:
    """Label, pixels and file, below the folder, of each face of a split.

    Raises:
        AbsentSplitError: there is no folder of this split.
        DataError: a folder is no label.
        FaceError: by `amiss`, an image is unreadable or of another kind.
    """
    folder = path / split
    if not folder.is_dir():
        raise AbsentSplitError(f"{folder}: no such folder")
    strange = {file.name for file in folder.iterdir() if file.is_dir()} - set(LABELS)
    if strange:
        raise DataError(f"{folder / min(strange)}: not a label, expected {', '.join(LABELS)}")
    for index, label in enumerate(LABELS):
        if not (folder / label).is_dir():
            continue
        files = sorted(file for file in (folder / label).iterdir() if not _is_hidden(file))
        wanted = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if len(wanted) < len(files):
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            left_out = len(files) - len(wanted)
            word = "file" if left_out == 1 else "files"
            warn_once(f"{folder / label}: left out {left_out} {word}, not {kinds}")
        for file in wanted:
            place = file.relative_to(path).as_posix()
            try:
                yield index, _read_image(file), place
            except ValueError as error:
                amiss(FaceError(path, split, place, str(error)))


def _is_hidden(file: Path) -> bool:
    return file.name.startswith(".") or file.name in ("Thumbs.db", "desktop.ini")


def _read_image(file: Path) -> bytes:
    try:
        with Image.open(file) as image:
            ambiguity = _find_ambiguity(image)
            grey = image if ambiguity else image.convert("L")
    # Pillow's parsers of PNG raise the last two on broken chunks.
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ValueError(f"not a readable image ({error})") from None
    if ambiguity:
        raise ValueError(ambiguity)
    if grey.size != (IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"{grey.width}x{grey.height}, expected {IMAGE_SIZE}x{IMAGE_SIZE}")
    return grey.tobytes()


def _find_ambiguity(image: Image.Image) -> str | None:
    """What a plain conversion to grey levels would show otherwise than the service does."""
    if image.mode not in ("1", "L", "P", "RGB"):
        return f"its pixels are of mode {image.mode}, expected 8-bit grey levels or RGB"
    if image.has_transparency_data:
        return "has transparent parts, expected none"
    turn = 1
    # The service takes damaged metadata for none, too.
    with suppress(Exception):
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn in range(2, 9):
        return "lies turned, as its EXIF orientation says; expected upright"
    return None
