"""An opened image to a 48x48 grey face, or to a picture in which faces are looked for.

The rule, for any size and mode: the largest centred square, reduced or enlarged to 48x48
(Lanczos), transparent parts over white, grey by ITU-R 601 luma, 16-bit levels divided by 257,
then turned as EXIF says. An image of 48x48 grey levels passes unchanged.
"""

from typing import Final

import numpy as np
from PIL import ExifTags, Image

from service.preprocess import IMAGE_SIZE

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

PICTURE_SIDE: Final = 1280
"""Longest side of a picture in which faces are looked for; a face of 48 pixels is kept whole."""

Square = tuple[float, float, float, float]


def draft_face(image: Image.Image) -> Square:
    """Have a JPEG decoded at reduced scale; other images stay as they are.

    Args:
        image: opened and not loaded yet.

    Returns:
        The central square in pixels of that scale.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # libjpeg decodes at a fraction of the size, straight to luma; twice the target keeps
    # enough detail for the final reduction.
    luma = "L" if image.mode in ("L", "RGB") else None
    drafted = image.draft(luma, (2 * IMAGE_SIZE, 2 * IMAGE_SIZE))
    # The fraction's sides are rounded up, so the square is cut in the file's own pixels.
    scale = width / drafted[1][2] if drafted else 1.0
    return (left / scale, top / scale, (left + side) / scale, (top + side) / scale)


def draft_picture(image: Image.Image) -> None:
    """Have a JPEG decoded at reduced scale, but not below `PICTURE_SIDE`, to look for faces."""
    image.draft("RGB" if image.mode == "RGB" else None, (PICTURE_SIDE, PICTURE_SIDE))


def to_face(image: Image.Image, content: bytes, square: Square) -> Image.Image:
    """A square of the image as grey levels, 48x48.

    Args:
        image: of `draft_face`, and not loaded yet.
        content: the file that it was opened from.
        square: left, top, right and bottom of what is shown.
    """
    turn = _TURNS.get(_orientation(image))
    face = _to_grey(image, content, square)
    return face if turn is None else face.transpose(turn)


def to_picture(image: Image.Image, content: bytes) -> Image.Image:
    """The whole image in RGB, reduced to `PICTURE_SIDE` at most; arguments as of `to_face`."""
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I"):
        image = _scale_16_bit(image)
    if image.has_transparency_data:
        _mend_transparency(image, content)
        image = image.convert("RGBA")
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BILINEAR)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    picture = image.convert("RGB")
    return picture if turn is None else picture.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged metadata is no reason to refuse sound pixels.
    except Exception:
        return 1


def _to_grey(image: Image.Image, content: bytes, square: Square) -> Image.Image:
    if image.mode.startswith("I"):  # PNG's 16-bit grey
        return _resize(_scale_16_bit(image), square)
    if image.has_transparency_data:
        _mend_transparency(image, content)
        # Premultiplied levels may be reduced before they are laid over white: a fraction
        # of the memory, the same result.
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        image = _resize(image.convert("RGBa"), square).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("L")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return _resize(image if image.mode == "L" else image.convert("L"), square)


def _scale_16_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit levels instead of scaling them.
    levels = np.asarray(image)
    grey = (levels // 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[levels == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _mend_transparency(image: Image.Image, content: bytes) -> None:
    """Give PNG's transparent colour the depth to which Pillow has brought the pixels."""
    colour, depth = image.info.get("transparency"), content[24]
    if image.format != "PNG" or colour is None or isinstance(colour, bytes):
        return
    if image.mode == "L" and depth in (2, 4):
        image.info["transparency"] = colour * 255 // (2**depth - 1)
    elif image.mode == "RGB" and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in colour)


def _resize(image: Image.Image, square: Square) -> Image.Image:
    if image.size == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    # As sharp as FER2013's own faces: of those enlarged and reduced again 94 % keep their label,
    # after bilinear reduction 88 % (benchmarks/reduction.py).
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS, square, 2.0)
