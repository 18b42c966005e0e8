"""Cut the faces out of photos as the service does, to 48x48 grey PNG files.

PYTHONPATH=. python examples/crop.py photos faces/train/happy
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

from PIL import Image

from service.errors import RequestError
from service.reading.decoding import see_photo
from service.reading.images import Limits

LIMITS = Limits(pixels=64_000_000, whole_pixels=64_000_000)


def crop(source: Path, target: Path) -> int:
    """Write `<folder>-<file>-<mark>-<number>.png` for each face in the files below a folder.

    The whole name of the file is in it, since `a.jpg` may lie beside `a.png`. The mark, eight
    hexadecimal digits, is of path and content: `a-b/c.jpg` is not `a/b-c.jpg`, and another folder
    of the same name has other photos. The same call again replaces each face by itself.

    Returns:
        The number of faces.
    """
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        content = file.read_bytes()
        try:
            seen = see_photo(content, LIMITS, float("inf"))
        except RequestError as error:
            if error.code == "no_detector":
                raise SystemExit("error: no face detector; run: pip install '.[faces]'") from None
            # The service's own words go on with what its options do.
            print(f"{file}: {error.message.partition('. ')[0]}", file=sys.stderr)
            continue
        name = name_crops(source.resolve().name / file.relative_to(source), content)
        for number, face in enumerate(seen.views[:, 0]):
            Image.fromarray(face).save(target / f"{name}-{number}.png")
            count += 1
    return count


def name_crops(path: Path, content: bytes) -> str:
    """What the names of a photo's faces begin with; no other photo's begin so.

    Args:
        path: of the photo, from the folder's name on.
        content: of the photo.
    """
    mark = hashlib.sha256(os.fsencode(path) + b"\0" + content).hexdigest()[:8]
    return "-".join((*path.parts, mark))


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
