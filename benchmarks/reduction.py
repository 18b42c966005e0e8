"""How much of a face survives the way to 48x48, by the filter that reduces it.

Validation faces are enlarged, stored as JPEG and reduced again as the service does; the share
that keeps its label, and the share that is right, is printed for each filter.

    python -m benchmarks.reduction --data fer2013
"""

import argparse
import io
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from search.data.splits import load_split
from service.artifact import load_artifact
from service.inference.predictor import Predictor
from service.reading import images


def enlarge(face: NDArray[np.uint8], side: int) -> bytes:
    """A uint8 (48, 48) face as a JPEG of `side` pixels."""
    buffer = io.BytesIO()
    Image.fromarray(face).resize((side, side), Resampling.BICUBIC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def reduce(content: bytes, kind: Resampling) -> NDArray[np.uint8]:
    """What the service would make of it with this filter."""
    resize = Image.Image.resize

    def resize_so(image: Image.Image, size: tuple[int, int], _: int, *rest: object) -> Image.Image:
        return resize(image, size, kind, *rest)  # type: ignore[arg-type]

    with patch.object(Image.Image, "resize", resize_so):
        return images.decode_face(content, images.Limits(pixels=10**6, whole_pixels=10**6))[0]


def main() -> None:
    """Print one line a size and filter."""
    parser = argparse.ArgumentParser(description="filters of reduction")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--count", type=int, default=1200)
    options = parser.parse_args()
    split = load_split(options.data, "validation")
    chosen = np.random.default_rng(0).permutation(len(split))[: options.count]
    faces, labels = split.images[chosen], split.labels[chosen]
    predictor = Predictor(load_artifact(options.artifact), "cpu", 64)
    plain = predictor.predict(faces).argmax(1)
    print(f"as stored: {(plain == labels).mean():.1%} right")
    for side in (96, 128, 224):
        files = [enlarge(face, side) for face in faces]
        for kind in (Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS):
            found = predictor.predict(np.stack([reduce(file, kind) for file in files])).argmax(1)
            kept, right = (found == plain).mean(), (found == labels).mean()
            print(f"{side} {kind.name.lower()}: {kept:.1%} keep the label, {right:.1%} right")


if __name__ == "__main__":
    main()
