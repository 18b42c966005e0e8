"""The images in a request, read under limits and into memory only."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import RequestError
from service.server.load import Buffer
from service.settings import Settings

FORM: Final = "multipart/form-data"
_CHARSETS: Final = (b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1", b"latin1")
_OTHER_PARTS: Final = 16
"""Most parts beside the wanted files."""

# Junk from strangers is answered with 400; a warning line for each would fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


async def read_image(request: Request, settings: Settings, buffer: Buffer) -> bytes:
    """The one image of a request: multipart field `image`, or a body of type `image/*`.

    Args:
        request: its body is not read yet.
        settings: the limits.
        buffer: where the bytes are counted.

    Raises:
        RequestError: 400 wrong form, 408 too slow, 413 too large, 415 another content type,
            503 too many bytes in all requests.
    """
    if content_type(request).startswith("image/"):
        async with in_time(settings):
            return b"".join([part async for part in limited(request, settings, buffer)])
    if content_type(request) != FORM:
        raise _unsupported("'image', or the image itself with a Content-Type of image/*")
    files = await read_files(request, settings, buffer, "image", settings.max_items)
    if len(files) > 1:
        text = f"The field 'image' holds {len(files)} files; only /predict_batch takes several."
        raise RequestError(400, "too_many_files", text)
    return files[0]


async def read_files(
    request: Request, settings: Settings, buffer: Buffer, field: str, limit: int
) -> list[bytes]:
    """The files in a multipart field, in order.

    Args:
        request: its body is not read yet.
        settings: the limits.
        buffer: where the bytes are counted.
        field: the field's name, also as PHP and axios number it (`images[]`, `images[0]`); files in
            others are ignored.
        limit: most files.

    Raises:
        RequestError: 400 wrong form, 408 too slow, 413 too large or too many, 415 not
            multipart, 503 too many bytes in all requests.
    """
    if content_type(request) != FORM:
        raise _unsupported(repr(field))
    async with in_time(settings):
        form = await _parse_form(request, settings, buffer, field, limit)
    try:
        files = [part for part in form.getlist(field) if isinstance(part, UploadFile)]
        if not files:
            raise RequestError(400, "missing_field", f"The form has no file field {field!r}.")
        if len(files) > limit:
            raise _too_many(limit)
        return [await file.read() for file in files]
    finally:
        await form.close()


def content_type(request: Request) -> str:
    """The media type without parameters, in lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def in_time(settings: Settings) -> AsyncIterator[None]:
    """Give up a body that does not arrive in time.

    Raises:
        RequestError: 408.
    """
    try:
        async with asyncio.timeout(settings.body_seconds):
            yield
    except TimeoutError:
        text = f"The body did not arrive within {settings.body_seconds:g} seconds."
        raise RequestError(408, "request_timeout", text) from None


async def limited(
    request: Request, settings: Settings, buffer: Buffer
) -> AsyncGenerator[bytes, None]:
    """The body's parts.

    Raises:
        RequestError: 413 as soon as the body, announced or received, is over the limit;
            503 when all bodies together are over theirs.
    """
    limit = settings.max_body_bytes
    announced = request.headers.get("content-length", "")
    received = 0
    # No `int`, which refuses more than 4,300 digits.
    if announced.isdecimal() and float(announced) > limit:
        raise _too_large(limit)
    async for part in request.stream():
        received += len(part)
        if received > limit:
            raise _too_large(limit)
        buffer.add(len(part))
        yield part


class _MemoryParser(MultiPartParser):
    """Reads all parts of a field as files, into memory.

    A file needs no name (RFC 7578, section 4.2), and has none from many clients that send bytes.

    Attributes:
        ended: whether the last boundary came.
    """

    # A file that spills to disk would tie serving to a writable, roomy file system.
    spool_max_size = 2**62

    def __init__(self, field: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._field = field
        self._spellings = re.compile(rb"%b(\[\d*\])?" % re.escape(field).encode())
        self.ended = False

    def on_headers_finished(self) -> None:
        """Begin a part."""
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        wanted = self._spellings.fullmatch(options.get(b"name", b""))
        if wanted and b"filename" not in options:
            part.content_disposition = (part.content_disposition or b"") + b'; filename=""'
        super().on_headers_finished()
        if wanted:
            part.field_name = self._field

    def on_end(self) -> None:
        """Note that the last boundary came."""
        self.ended = True


async def _parse_form(
    request: Request, settings: Settings, buffer: Buffer, field: str, files: int
) -> FormData:
    async def body() -> AsyncGenerator[bytes, None]:
        async for part in limited(request, settings, buffer):
            yield part
        if not parser.ended:
            text = "The form breaks off before its last boundary."
            raise RequestError(400, "invalid_form", text)

    _refuse_charset(request)
    parser = _MemoryParser(
        field, request.headers, body(), max_files=files + _OTHER_PARTS, max_fields=_OTHER_PARTS
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(files) from None
        raise RequestError(400, "invalid_form", error.message) from None
    except (KeyError, ValueError, UnicodeError):
        raise RequestError(400, "invalid_form", "The form could not be parsed.") from None


def _refuse_charset(request: Request) -> None:
    """Refuse a form whose text is to be read as anything odd.

    The parser decodes text by the charset that the client names, in the event loop, and some of
    Python's (punycode) take minutes for a megabyte.
    """
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() not in _CHARSETS:
        raise RequestError(
            400, "invalid_form", "The text of a form is taken as UTF-8 or Latin-1 only."
        )


def _unsupported(wanted: str) -> RequestError:
    text = f"Send {FORM} with the field {wanted}; see /docs."
    return RequestError(415, "unsupported_media_type", text)


def _too_large(limit: int) -> RequestError:
    text = f"The request is larger than the {limit / 1e6:.3g} MB that the service takes."
    return RequestError(413, "body_too_large", text)


def _too_many(limit: int) -> RequestError:
    return RequestError(413, "too_many_items", f"At most {limit} file(s) in one request.")
