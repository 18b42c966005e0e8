"""Images and request bodies for the load generator."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

FACE = Path(__file__).parents[1] / "examples" / "face.png"


def make_images(count: int = 64) -> list[bytes]:
    """JPEGs of 128x128: the example's face, turned and shifted a little."""
    draw = np.random.default_rng(0)
    face = Image.open(FACE)
    found = []
    for _ in range(count):
        right, down = (int(step) for step in draw.integers(-8, 9, 2))
        turned = face.rotate(
            float(draw.uniform(-15, 15)), Image.Resampling.BILINEAR, translate=(right, down)
        )
        buffer = io.BytesIO()
        turned.convert("RGB").save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def make_photos(count: int = 4) -> list[bytes]:
    """JPEGs as phones make them: 4032x3024, with the grain of a sensor."""
    draw = np.random.default_rng(1)
    face = Image.open(FACE).convert("RGB").resize((4032, 3024), Image.Resampling.BICUBIC)
    found = []
    for _ in range(count):
        grain = draw.normal(0, 6, (3024, 4032, 1))
        levels = np.clip(np.asarray(face) + grain, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def write_bodies(path: Path, field: str, groups: list[list[bytes]]) -> Path:
    """Multipart bodies, one a group of images, in the form that `post.lua` reads."""
    with path.open("wb") as file:
        for images in groups:
            body = b"".join(_part(field, image) for image in images) + b"--benchmark--\r\n"
            file.write(b"%d\n" % len(body) + body)
    return path


def _part(field: str, image: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{field}"; filename="face.jpg"'
    return b"--benchmark\r\n%b\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n" % (head.encode(), image)
