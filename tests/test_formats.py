"""What a JPEG says of the memory that it takes."""

from PIL import Image

from service.reading.formats import is_streamed
from tests.conftest import encode

PICTURE = Image.new("RGB", (64, 48), "teal")


def test_a_baseline_jpeg_is_streamed() -> None:
    thumbnail = encode(PICTURE, "JPEG")
    exif = b"Exif\0\0" + thumbnail
    assert is_streamed(thumbnail)
    assert is_streamed(encode(PICTURE, "JPEG", exif=exif, comment=b"\xff\xc2"))
    assert is_streamed(encode(PICTURE.convert("L"), "JPEG"))
    assert is_streamed(encode(PICTURE.convert("CMYK"), "JPEG"))


def test_a_jpeg_of_many_scans_is_not() -> None:
    assert not is_streamed(encode(PICTURE, "JPEG", progressive=True))
    content = encode(PICTURE, "JPEG")
    scan = content.index(b"\xff\xda")
    one_colour = content[: scan + 4] + b"\1" + content[scan + 5 :]
    assert not is_streamed(one_colour)


def test_what_decoders_may_read_differently_is_not() -> None:
    content = encode(PICTURE, "JPEG")
    table = content.index(b"\xff\xdb")
    for filler in (b"\xff", b"\0", b"\xff\xd0", b"\xff\xd8"):
        assert not is_streamed(content[:table] + filler + content[table:])
    for length in range(content.index(b"\xff\xda") + 4):
        assert not is_streamed(content[:length])
