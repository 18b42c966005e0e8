"""What finding faces is worth: how often a label stays when a face gets a background.

Every face of FER2013's validation split is enlarged and pasted into a larger picture at a
random place; `faces=auto` must find it, cut it out again and give the label that the face
alone gets. The background is smooth noise, so this says nothing about false finds in photos.

    python -m benchmarks.faces --data fer2013
"""

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.data.splits import load_split
from service.artifact import load_artifact
from service.errors import RequestError
from service.inference.predictor import Predictor
from service.reading.faces import Box, cut_face, cut_views, find_faces

WIDTH, HEIGHT = 480, 360
SIDES = (72, 192)
"""Least and largest side of a pasted face, pixels."""


def paste(face: NDArray[np.uint8], draw: np.random.Generator) -> tuple[Image.Image, Box]:
    """A face, uint8 (48, 48), in a larger RGB picture; and where it lies."""
    noise = Image.fromarray(draw.integers(30, 220, (6, 8), dtype=np.uint8))
    picture = noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    side = int(draw.integers(*SIDES))
    left, top = int(draw.integers(WIDTH - side)), int(draw.integers(HEIGHT - side))
    large = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    picture.paste(large, (left, top))
    return picture.convert("RGB"), Box(left, top, side)


def find(picture: Image.Image) -> list[Box]:
    """The boxes; none where the service would say that there is no face."""
    try:
        return find_faces(picture)
    except RequestError:
        return []


def holds(box: Box, frame: Box) -> bool:
    """Whether the frame's centre lies within the box."""
    across = frame.left + frame.side / 2 - box.left
    down = frame.top + frame.side / 2 - box.top
    return 0 < across < box.side and 0 < down < box.side


def compose(faces: NDArray[np.uint8], draw: np.random.Generator) -> tuple[Image.Image, list[Box]]:
    """Faces, uint8 (N, 48, 48), in one picture, tiled from pictures of one; and where they lie."""
    across = math.ceil(math.sqrt(len(faces)))
    picture = Image.new("RGB", (across * WIDTH, math.ceil(len(faces) / across) * HEIGHT))
    frames = []
    for number, face in enumerate(faces):
        left, top = number % across * WIDTH, number // across * HEIGHT
        tile, frame = paste(face, draw)
        picture.paste(tile, (left, top))
        frames.append(Box(left + frame.left, top + frame.top, frame.side))
    return picture, frames


@dataclass
class Cuts:
    """Faces that were found: their rows, the service's views, and cut out along their edges."""

    rows: list[int] = field(default_factory=list)
    views: list[NDArray[np.uint8]] = field(default_factory=list)
    framed: list[NDArray[np.uint8]] = field(default_factory=list)
    elsewhere: int = 0

    def look(self, picture: Image.Image, frames: dict[int, Box]) -> None:
        """Add what is found in a picture whose faces, by their rows, lie in the frames."""
        boxes, grey = find(picture), np.asarray(picture.convert("L"))
        for row, frame in frames.items():
            held = [box for box in boxes if holds(box, frame)]
            boxes = [box for box in boxes if box not in held]
            if held:
                self.rows.append(row)
                self.views.append(cut_views(grey, held[0]))
                self.framed.append(cut_face(grey, frame))
        self.elsewhere += len(boxes)


def measure(
    data: Path, artifact: Path, count: int | None, together: int, seed: int
) -> dict[str, float]:
    """Shares of faces that were found, and of found faces whose label stayed or is right.

    `in_frame` is for cuts along the pasted face's own edges, which no detector can know.
    """
    faces = load_split(data, "validation")
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(faces))[:count]
    cuts = Cuts()
    for start in range(0, len(chosen), together):
        rows = chosen[start : start + together]
        picture, frames = compose(faces.images[rows], draw)
        cuts.look(picture, dict(zip(rows.tolist(), frames, strict=True)))
    loaded = load_artifact(artifact)
    predictor = Predictor(loaded, "cpu", 64)
    alone = predictor.predict(faces.images[cuts.rows]).argmax(1)
    views = np.stack(cuts.views)
    each = predictor.predict(np.concatenate(views)).reshape(*views.shape[:2], -1)
    scores = each.mean(1)
    within, one_view = scores.argmax(1), each[:, 0].argmax(1)
    sure = scores.max(1) >= loaded.card["uncertain_below"]
    in_frame = predictor.predict(np.stack(cuts.framed)).argmax(1)
    labels = faces.labels[cuts.rows]
    return {
        "faces": len(chosen),
        "found": len(cuts.rows) / len(chosen),
        "found_elsewhere": cuts.elsewhere,
        "label_stays": float((alone == within).mean()),
        "label_stays_in_frame": float((alone == in_frame).mean()),
        "right_alone": float((alone == labels).mean()),
        "right_within": float((within == labels).mean()),
        "right_by_one_view": float((one_view == labels).mean()),
        "answered": float(sure.mean()),
        "right_when_answered": float((within == labels)[sure].mean()),
        "right_in_frame": float((in_frame == labels).mean()),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description="labels of faces alone and within a picture")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--count", type=int, help="faces to measure; all if left out")
    text = "faces in each picture (default: %(default)s)"
    parser.add_argument("--together", type=int, default=1, help=text)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = measure(options.data, options.artifact, options.count, options.together, options.seed)
    print(json.dumps({"seed": options.seed, "together": options.together, **found}, indent=2))


if __name__ == "__main__":
    main()
