"""What finding faces is worth: how often a label stays when a face gets a background.

Every face of FER2013's validation split is enlarged and pasted into a larger picture at a
random place; `faces=auto` must find it, cut it out again and give the label that the face
alone gets. The background is smooth noise, so this says nothing about false finds in photos.

    python -m benchmarks.faces --data fer2013
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.data import load_split
from service.artifact import load_artifact
from service.errors import RequestError
from service.faces import Box, cut_face, find_faces
from service.predictor import Predictor

WIDTH, HEIGHT = 480, 360
SIDES = (72, 192)
"""Least and largest side of a pasted face, pixels."""

Place = tuple[int, int]


def paste(face: NDArray[np.uint8], draw: np.random.Generator) -> tuple[Image.Image, Place]:
    """A face, uint8 (48, 48), in a larger RGB picture; and where its centre lies."""
    noise = Image.fromarray(draw.integers(30, 220, (6, 8), dtype=np.uint8))
    picture = noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    side = int(draw.integers(*SIDES))
    left, top = int(draw.integers(WIDTH - side)), int(draw.integers(HEIGHT - side))
    large = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    picture.paste(large, (left, top))
    return picture.convert("RGB"), (left + side // 2, top + side // 2)


def find(picture: Image.Image) -> list[Box]:
    """The boxes; none where the service would say that there is no face."""
    try:
        return find_faces(picture)
    except RequestError:
        return []


def holds(box: Box, place: Place) -> bool:
    """Whether the place lies within the box."""
    across, down = place[0] - box.left, place[1] - box.top
    return 0 < across < box.side and 0 < down < box.side


def measure(data: Path, artifact: Path, count: int | None, seed: int) -> dict[str, float]:
    """Shares of faces that were found, and of found faces whose label stayed or is right."""
    faces = load_split(data, "validation")
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(faces))[:count]
    rows, cuts, elsewhere = [], [], 0
    for row in chosen:
        picture, place = paste(faces.images[row], draw)
        boxes = find(picture)
        held = [box for box in boxes if holds(box, place)]
        elsewhere += len(boxes) - len(held)
        if held:
            rows.append(row)
            cuts.append(cut_face(picture, held[0]))
    predictor = Predictor(load_artifact(artifact), "cpu", 64)
    alone = predictor.predict(faces.images[rows]).argmax(1)
    within = predictor.predict(np.stack(cuts)).argmax(1)
    labels = faces.labels[rows]
    return {
        "faces": len(chosen),
        "found": len(rows) / len(chosen),
        "found_elsewhere": elsewhere,
        "label_stays": float((alone == within).mean()),
        "right_alone": float((alone == labels).mean()),
        "right_within": float((within == labels).mean()),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="labels of faces alone and within a picture")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--count", type=int, help="faces to measure; all if left out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = measure(options.data, options.artifact, options.count, options.seed)
    print(json.dumps({"seed": options.seed, **found}, indent=2))


if __name__ == "__main__":
    main()
