"""Cut the faces out of photos as the service does, to 48x48 grey PNG files.

PYTHONPATH=. python examples/crop.py photos faces/train/happy
"""

import argparse
import sys
from pathlib import Path

from PIL import Image

from service.decoding import see_photo
from service.errors import RequestError
from service.images import Limits

LIMITS = Limits(pixels=64_000_000, whole_pixels=64_000_000)


def crop(source: Path, target: Path) -> int:
    """Write `<folder>-<file>-<number>.png` for each face in a folder's files, and in those below.

    The whole name of the file is in it, since `a.jpg` may lie beside `a.png`; an equal one is
    replaced, so that the same call again changes nothing.

    Returns:
        The number of faces.
    """
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        try:
            seen = see_photo(file.read_bytes(), LIMITS, float("inf"))
        except RequestError as error:
            print(f"{file}: {error.message}", file=sys.stderr)
            continue
        name = "-".join((source.resolve().name, *file.relative_to(source).parts))
        for number, face in enumerate(seen.faces):
            Image.fromarray(face).save(target / f"{name}-{number}.png")
            count += 1
    return count


def main() -> None:
    """Read the two folders and print how many faces were cut out."""
    parser = argparse.ArgumentParser(description="cut the faces out of photos")
    parser.add_argument("photos", type=Path)
    parser.add_argument("faces", type=Path)
    options = parser.parse_args()
    if not options.photos.is_dir():
        raise SystemExit(f"error: {options.photos}: no such folder")
    print(f"{crop(options.photos, options.faces)} faces in {options.faces}")


if __name__ == "__main__":
    main()
