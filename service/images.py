"""Request bytes to a 48x48 grey face.

The rule, for any size and mode: the first frame, transparent parts over white, grey by
ITU-R 601 luma, 16-bit levels divided by 257, the largest centred square, reduced or
enlarged to 48x48 (bilinear with antialiasing), then turned as EXIF says. An image of
48x48 grey levels passes unchanged.
"""

import io
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from service.errors import RequestError
from service.preprocess import IMAGE_SIZE

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
"""What is decoded; every further format is one more parser open to strangers."""

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the turn that undoes it (Exif 2.32, tag 0x0112)."""

# The limit is checked from the header, with a clear error, before Pillow's own check.
Image.MAX_IMAGE_PIXELS = None


def decode_face(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode an image into the network's input.

    Args:
        content: an encoded image.
        max_pixels: largest width x height that is decoded.

    Returns:
        uint8, shape (48, 48).

    Raises:
        RequestError: 400 empty, 413 too many pixels, 415 not a supported format,
            422 damaged.
    """
    if not content:
        raise RequestError(400, "empty_file", "The image has no bytes.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _open(content)
        if image.width * image.height > max_pixels:
            size = f"{image.width}x{image.height}"
            raise RequestError(413, "too_many_pixels", f"{size} is over {max_pixels} pixels.")
        try:
            return np.array(_to_face(image))
        # Pillow's decoders raise many kinds of errors on damaged files.
        except Exception:
            text = f"The {image.format} image is truncated or damaged."
            raise RequestError(422, "invalid_image", text) from None


def _open(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        text = f"Not an image in a supported format ({', '.join(FORMATS)})."
        raise RequestError(415, "unsupported_format", text) from None
    except Exception:
        raise RequestError(422, "invalid_image", "The image's header is damaged.") from None


def _to_face(image: Image.Image) -> Image.Image:
    # libjpeg decodes at a fraction of the size, straight to luma; twice the target keeps
    # enough detail for the final reduction.
    luma = "L" if image.mode in ("L", "RGB") else None
    image.draft(luma, (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
    turn = _TURNS.get(_orientation(image))
    face = _resize(_to_grey(image))
    return face if turn is None else face.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged metadata is no reason to refuse sound pixels.
    except Exception:
        return 1


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # PNG's 16-bit grey
        # Pillow's own conversion clips 16-bit levels instead of scaling them.
        return Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB").convert("L") if image.mode == "CMYK" else image.convert("L")


def _resize(image: Image.Image) -> Image.Image:
    if image.size == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR, square, 2.0)


def warm_up() -> None:
    """Load Pillow's parsers now rather than at the first request."""
    face = Image.new("L", (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
    for name in FORMATS:
        buffer = io.BytesIO()
        face.save(buffer, name)
        decode_face(buffer.getvalue(), face.width * face.height)
