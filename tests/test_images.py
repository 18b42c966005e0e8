import io
import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.errors import RequestError
from service.reading import images
from service.reading.formats import MAX_CHUNKS, MAX_SCANS, FormatError, check
from service.reading.images import Limits, NotQuickError, decode_face, decode_picture
from tests.conftest import encode

MOST = Limits(pixels=10_000_000, whole_pixels=9_000_000)


def face_of(content: bytes) -> NDArray[np.uint8]:
    return decode_face(content, MOST)[0]


def gradient(width: int = 96, height: int = 96) -> Image.Image:
    """Darker to the left, so that turns and mirrors show."""
    row = np.linspace(20, 230, width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1)))


def test_exact_size_grey_passes_unchanged() -> None:
    face = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    np.testing.assert_array_equal(face_of(encode(face)), face)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("size", [(48, 48), (1, 1), (7, 200), (301, 300), (20, 20)])
def test_every_png_mode_and_size(mode: str, size: tuple[int, int]) -> None:
    face = face_of(encode(gradient(*size).convert(mode)))
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
    expected = face_of(encode(gradient(side, side))).astype(int)
    face = face_of(encode(gradient(side, side).convert(mode), kind, quality=95))
    assert np.abs(face.astype(int) - expected).max() <= 6


def test_16_bit_levels_are_scaled() -> None:
    deep = np.tile(np.linspace(0, 65535, 48).astype(np.uint16), (48, 1))
    face = face_of(encode(Image.fromarray(deep)))
    np.testing.assert_array_equal(face, (deep // 257).astype(np.uint8))


def test_transparent_parts_are_white() -> None:
    clear = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    assert face_of(encode(clear)).min() == 255


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
    expected = face_of(encode(gradient())).astype(int)
    assert np.abs(face_of(content).astype(int) - expected).max() <= 6


def test_centre_square_is_taken() -> None:
    wide = np.zeros((48, 144), np.uint8)
    wide[:, 48:96] = 200
    assert face_of(encode(wide)).min() == 200


def refusal(content: bytes, most: Limits = MOST) -> tuple[int, str]:
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


def chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def png(side: int, depth: int, colour: int, rows: bytes, clear: bytes = b"") -> bytes:
    """A square PNG of the given bit depth and colour type, with a tRNS chunk if `clear`."""
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    extra = chunk(b"tRNS", clear) if clear else b""
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    assert refusal(png(50_000, 8, 0, b"0")) == (413, "too_many_pixels")


def test_a_jpeg_of_several_pictures_may_have_as_many_pixels_as_any() -> None:
    picture = Image.new("RGB", (120, 90), "grey")
    content = encode(picture, "MPO", save_all=True, append_images=[picture])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    face, pixels = decode_face(content, Limits(pixels=10**6, whole_pixels=100))
    assert face.shape == (48, 48)
    assert pixels == 120 * 90


def test_only_jpeg_may_be_large() -> None:
    square = Image.new("L", (3100, 3100), 7)
    assert face_of(encode(square, "JPEG")).max() == 7
    for kind in ("PNG", "WEBP", "BMP"):
        with pytest.raises(RequestError, match="may have 9,000,000, a JPEG 10,000,000") as caught:
            decode_face(encode(square, kind), MOST)
        assert caught.value.status == 413
    # Never more than all may have.
    few = Limits(pixels=9216, whole_pixels=10**6)
    assert decode_face(encode(gradient()), few)[1] == 9216
    assert refusal(encode(gradient(97, 97)), few) == (413, "too_many_pixels")


def test_what_takes_long_is_told_from_its_header() -> None:
    quick = Limits(pixels=10**6, whole_pixels=10**6, quick_pixels=9216)
    assert decode_face(encode(gradient()), quick)[1] == 9216
    for content in (encode(gradient(97, 97)), png(97, 8, 0, b"0")):
        with pytest.raises(NotQuickError):
            decode_face(content, quick)


@pytest.mark.parametrize(
    ("depth", "colour", "pixel", "clear"),
    [
        (2, 0, b"\x55", b"\0\1"),
        (4, 0, b"\x11", b"\0\1"),
        (8, 0, b"\5", b"\0\5"),
        (16, 0, b"\1\5", b"\1\5"),
        (8, 2, b"\5\6\7", b"\0\5\0\6\0\7"),
        (16, 2, b"\5\0\6\0\7\0", b"\5\0\6\0\7\0"),
    ],
)
def test_a_transparent_colour_is_white(depth: int, colour: int, pixel: bytes, clear: bytes) -> None:
    rows = (b"\0" + pixel * (48 * depth // 8 if depth < 8 else 48)) * 48
    assert face_of(png(48, depth, colour, rows)).max() < 100
    assert face_of(png(48, depth, colour, rows, clear)).min() == 255


@pytest.mark.parametrize("size", [(301, 300), (1000, 777), (777, 1000), (203, 1001), (799, 799)])
def test_odd_jpegs_are_cut_like_png(size: tuple[int, int]) -> None:
    wide, high = np.meshgrid(*(np.linspace(0, 1, side) for side in size))
    waves = (127 + 120 * np.sin(25 * wide) * np.cos(25 * high)).astype(np.uint8)
    expected = face_of(encode(waves)).astype(int)
    found = face_of(encode(waves, "JPEG", quality=98)).astype(int)
    assert np.abs(found - expected).max() <= 3


def test_damage_is_told_from_a_foreign_format() -> None:
    sound = encode(gradient())
    header_flipped = sound[:20] + bytes([sound[20] ^ 1]) + sound[21:]
    pixels_flipped = sound[:-40] + bytes([sound[-40] ^ 1]) + sound[-39:]
    negative = encode(gradient(), "BMP")
    negative = negative[:18] + struct.pack("<i", -96) + negative[22:]
    for content in (
        header_flipped,
        pixels_flipped,
        png(0, 8, 0, b""),
        negative,
        b"BM",
        b"\xff\xd8\xff",
    ):
        assert refusal(content) == (422, "invalid_image")


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    content = encode(gradient(), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    assert face_of(content[:-2] + scan * 10 + b"\xff\xd9").shape == (48, 48)
    assert refusal(content[:-2] + scan * MAX_SCANS + b"\xff\xd9") == (422, "invalid_image")


def test_what_lies_behind_a_jpeg_is_not_looked_at() -> None:
    # As the video of a phone's moving photo.
    content = encode(gradient(), "JPEG")
    video = np.random.default_rng(0).integers(0, 256, 6 * 2**20, np.uint8).tobytes()
    assert video.count(b"\xff\xda") > MAX_SCANS
    assert np.array_equal(face_of(content + video), face_of(content))


def test_scans_hidden_from_who_walks_over_segments_are_counted() -> None:
    content = encode(gradient(), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    many = scan * (MAX_SCANS + 1)
    # libjpeg passes over a reserved marker where it waits for a restart, without a length.
    reserved = b"\xff\x02" + (len(many) + 2).to_bytes(2, "big")
    # And fills up to a marker with 0xff.
    for hidden in (reserved + many, many.replace(b"\xff\xda", b"\xff\xff\xff\xda")):
        with pytest.raises(FormatError, match="scans"):
            check("JPEG", content[:-2] + hidden + b"\xff\xd9")
    # An end within a segment is none.
    comment = b"\xff\xfe\x00\x04\xff\xd9"
    with pytest.raises(FormatError, match="scans"):
        check("JPEG", content[:2] + comment + content[2:-2] + many + b"\xff\xd9")


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    content = encode(gradient(), "JPEG")
    comment = b"\xff\xfe\x00\x02"
    assert face_of(content[:2] + comment * 1000 + content[2:]).shape == (48, 48)
    begun = time.monotonic()
    with pytest.raises(FormatError, match="segments"):
        check("JPEG", content[:2] + comment * 10**6 + content[2:])
    check("JPEG", content[:-2] + b"\xff" * 10**7)
    assert time.monotonic() - begun < 2


def test_only_what_takes_memory_waits_its_turn() -> None:
    large = gradient().resize((3000, 2800))
    with images._LARGE:
        assert decode_face(encode(large, "JPEG"), MOST)[1] == 8_400_000
        for content in (encode(large, "JPEG", progressive=True), encode(large)):
            with pytest.raises(RequestError) as caught:
                decode_face(content, MOST, time.monotonic() + 0.1)
            assert caught.value.status == 503


def test_a_slow_decode_is_given_up() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 2000), np.uint8)
    begun = time.monotonic()
    with pytest.raises(RequestError) as caught:
        decode_face(encode(Image.fromarray(noise), "JPEG"), MOST, time.monotonic() + 0.01)
    assert caught.value.status == 503
    assert time.monotonic() - begun < 1


def test_runs_of_a_bitmap_are_refused_at_once() -> None:
    # Pillow fills such a line byte by byte in Python, 25 million of them from one run.
    bmp = bytearray(encode(Image.new("P", (4, 1)), "BMP"))
    bmp[18:22] = (25_000_000).to_bytes(4, "little")
    bmp[30:34] = (1).to_bytes(4, "little")
    start = int.from_bytes(bmp[10:14], "little")
    begun = time.monotonic()
    assert refusal(bytes(bmp[:start]) + b"\1\7\0\0\0\1") == (422, "invalid_image")
    assert time.monotonic() - begun < 0.5


def test_a_png_of_endless_chunks_is_refused() -> None:
    content = encode(gradient())
    empty = b"\0\0\0\0aaAa" + zlib.crc32(b"aaAa").to_bytes(4, "big")
    head, rest = content[:33], content[33:]
    assert face_of(head + empty * 1000 + rest).shape == (48, 48)
    assert refusal(head + empty * MAX_CHUNKS + rest) == (422, "invalid_image")


def test_a_large_file_is_not_quick() -> None:
    content = encode(gradient(), "JPEG")
    padded = content[:2] + b"\xff\xe5\xff\xff" + bytes(65533) + content[2:]
    limits = replace(MOST, quick_pixels=10**6, quick_bytes=65536)
    assert decode_face(content, limits)[0].shape == (48, 48)
    with pytest.raises(NotQuickError):
        decode_face(padded, limits)
    # Other formats' headers are read at once.
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    assert decode_face(encode(Image.fromarray(noise)), limits)[1] == 90_000


def test_a_picture_too_narrow_to_be_reduced_waits_its_turn() -> None:
    wide, square = (
        encode(gradient().resize(size), "JPEG") for size in ((9000, 1000), (3000, 3000))
    )
    with images._LARGE:
        assert decode_picture(square, MOST)[2] == 9_000_000
        assert decode_face(wide, MOST)[1] == 9_000_000
        with pytest.raises(RequestError) as caught:
            decode_picture(wide, MOST, time.monotonic() + 0.1)
        assert caught.value.status == 503


def test_every_truncation_is_refused_or_decoded() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "BMP"):
        content = encode(gradient(), kind)
        for length in range(0, len(content), max(1, len(content) // 60)):
            try:
                decode_face(content[:length], MOST)
            except RequestError as error:
                assert 400 <= error.status < 500
