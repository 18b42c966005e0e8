"""What an image file says of itself, checked before a decoder sees it.

Pillow reports a damaged header as an unknown format, skips the checksums of PNG's pixel
data, and lets a JPEG name as many scans as it likes; these checks close the gaps.
"""

import re
import zlib
from typing import Final

SIGNATURES: Final = {
    "JPEG": (0, b"\xff\xd8\xff"),
    "PNG": (0, b"\x89PNG\r\n\x1a\n"),
    "WEBP": (8, b"WEBP"),
    "BMP": (0, b"BM"),
}
"""Where and how each format begins; every further format is one more parser open to strangers."""

FORMATS: Final = tuple(SIGNATURES)

MAX_SCANS: Final = 50
"""Most scans of a progressive JPEG. Each scan walks over all coefficients, so a small file of many
scans costs hours; libjpeg-turbo's advice is such a limit (its report LJT-01-005, 2015)."""

MAX_CHUNKS: Final = 20_000
"""Most chunks of a PNG, or segments of a JPEG; encoders write some kilobytes in each, and millions
of empty ones cost seconds."""

_START_OF_SCAN: Final = b"\xff\xda"
_START_OF_IMAGE: Final = b"\xff\xd8"
_END_OF_IMAGE: Final = b"\xff\xd9"
_LEAST_WITH_LENGTH: Final = b"\xff\xc0"
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""In coded data 0xFF is followed by 0, by a restart marker, or by itself to fill up."""
_SEQUENTIAL_FRAMES: Final = (b"\xff\xc0", b"\xff\xc1")
_TABLES: Final = tuple(bytes((0xFF, kind)) for kind in (0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
"""Markers of JPEG (ITU-T T.81, table B.1); tables are those of codes, steps, restarts, applications
and comments."""


class FormatError(ValueError):
    """The file is damaged, made to harm, or of a kind that is not read; the message says which."""


def find_format(content: bytes) -> str | None:
    """The format that the first bytes name, or None."""
    for name, (start, signature) in SIGNATURES.items():
        if content.startswith(signature, start):
            return name
    return None


def check(name: str, content: bytes) -> None:
    """Check what Pillow does not.

    Args:
        name: one of `FORMATS`.
        content: the whole file.

    Raises:
        FormatError: a checksum of PNG is wrong or it has over `MAX_CHUNKS` chunks, JPEG has over
            that many segments or `MAX_SCANS` scans, BMP is run-length encoded.
    """
    if name == "PNG":
        _check_png(content)
    elif name == "BMP" and _is_run_length(content):
        raise FormatError("it is run-length encoded; save it without compression")
    elif name == "JPEG":
        _check_scans(content)


def is_streamed(content: bytes) -> bool:
    """Whether a JPEG holds all colours in one scan, so that its decoder keeps only a few lines.

    Of other files libjpeg keeps all coefficients until the last scan.
    """
    colours, start = b"", 2
    while (marker := content[start : start + 2]) != _START_OF_SCAN:
        if marker in _SEQUENTIAL_FRAMES:
            colours = content[start + 9 : start + 10]
        # A progressive frame, damage, or what this and libjpeg might read differently.
        elif marker not in _TABLES:
            return False
        start += 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    return colours != b"" and content[start + 4 : start + 5] == colours


def _check_scans(content: bytes) -> None:
    """Count a JPEG's scans as libjpeg comes by them: up to the image's end, and not in segments.

    What lies behind is no part of it, such as the video of a phone's moving photo.
    """
    scans, segments, at = 0, 0, 2
    while found := _MARKER.search(content, at):
        marker, at = found[0], found.end()
        if marker == _END_OF_IMAGE:
            return
        segments += 1
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise FormatError(f"it has over {MAX_SCANS} scans")
        if segments > MAX_CHUNKS:
            raise FormatError(f"it has over {MAX_CHUNKS} segments")
        # Where a restart is due libjpeg passes over a reserved marker as if it had no length.
        if marker >= _LEAST_WITH_LENGTH and marker != _START_OF_IMAGE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))


def _is_run_length(content: bytes) -> bool:
    """Whether a BMP's pixels are compressed as runs, which Pillow reads byte by byte in Python."""
    size, compression = (int.from_bytes(content[at : at + 4], "little") for at in (14, 30))
    return size >= 40 and compression in (1, 2)


def _check_png(content: bytes) -> None:
    """CRC-32 of every critical chunk; what is cut off is left to the decoder."""
    start, chunks = 8, 0
    while start + 12 <= len(content):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise FormatError(f"it has over {MAX_CHUNKS} chunks")
        length = int.from_bytes(content[start : start + 4], "big")
        end = start + 8 + length
        kind = content[start + 4 : start + 8]
        # A lower-case first letter marks a chunk that pixels do not depend on.
        critical = kind[:1].isupper() and end + 4 <= len(content)
        if (
            critical
            and zlib.crc32(content[start + 4 : end]).to_bytes(4, "big") != content[end : end + 4]
        ):
            raise FormatError(
                f"the checksum of its chunk {kind.decode('ascii', 'replace')} is wrong"
            )
        if kind == b"IEND":
            return
        start = end + 4
