import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import RequestError
from service.images import decode_face
from tests.conftest import encode

MOST = 10_000_000


def gradient(width: int = 96, height: int = 96) -> Image.Image:
    """Darker to the left, so that turns and mirrors show."""
    row = np.linspace(20, 230, width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1)))


def test_exact_size_grey_passes_unchanged() -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    np.testing.assert_array_equal(decode_face(encode(face), MOST), face)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(48, 48), (1, 1), (7, 200), (301, 300), (20, 20)])
def test_every_png_mode_and_size(mode: str, size: tuple[int, int]) -> None:
    face = decode_face(encode(gradient(*size).convert(mode)), MOST)
    assert face.shape == (48, 48)
    assert face.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("BMP", mode) for mode in ("L", "RGB")),
    ],
)
@pytest.mark.parametrize("side", [48, 96, 1000])
def test_formats_agree_with_grey_png(kind: str, mode: str, side: int) -> None:
    expected = decode_face(encode(gradient(side, side)), MOST).astype(int)
    face = decode_face(encode(gradient(side, side).convert(mode), kind, quality=95), MOST)
    assert np.abs(face.astype(int) - expected).max() <= 6


def test_16_bit_levels_are_scaled() -> None:
    deep = np.tile(np.linspace(0, 65535, 48).astype(np.uint16), (48, 1))
    face = decode_face(encode(Image.fromarray(deep)), MOST)
    np.testing.assert_array_equal(face, (deep // 257).astype(np.uint8))


def test_transparent_parts_are_white() -> None:
    clear = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    assert decode_face(encode(clear), MOST).min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = gradient()
    if orientation in undo:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(stored.convert("RGB"), kind, exif=exif, quality=95)
    expected = decode_face(encode(gradient()), MOST).astype(int)
    assert np.abs(decode_face(content, MOST).astype(int) - expected).max() <= 6


def test_centre_square_is_taken() -> None:
    wide = np.zeros((48, 144), np.uint8)
    wide[:, 48:96] = 200
    assert decode_face(encode(wide), MOST).min() == 200


def refusal(content: bytes, most: int = MOST) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        decode_face(content, most)
    return caught.value.status, caught.value.code


def test_refusals() -> None:
    whole = encode(gradient(200, 200).convert("RGB"), "JPEG")
    assert refusal(b"") == (400, "empty_file")
    assert refusal(b"hello, I am text") == (415, "unsupported_format")
    assert refusal(encode(gradient(), "TIFF")) == (415, "unsupported_format")
    assert refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == (415, "unsupported_format")
    assert refusal(whole[: len(whole) // 2]) == (422, "invalid_image")
    assert refusal(encode(gradient())[:-60]) == (422, "invalid_image")


def test_a_bomb_is_refused_by_its_header() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))
    assert refusal(bomb) == (413, "too_many_pixels")


def test_every_truncation_is_refused_or_decoded() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        content = encode(gradient(), kind)
        for length in range(0, len(content), max(1, len(content) // 60)):
            try:
                decode_face(content[:length], MOST)
            except RequestError as error:
                assert 400 <= error.status < 500
