"""The images in a request, read under limits and into memory only."""

import logging
from collections.abc import AsyncGenerator

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import RequestError
from service.settings import Settings

FORM = "multipart/form-data"

# Junk from strangers is answered with 400; a warning line for each would fill the log.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


async def read_image(request: Request, settings: Settings) -> bytes:
    """The one image of a request: multipart field `image`, or a body of type `image/*`.

    Raises:
        RequestError: 400 wrong form, 413 too large, 415 another content type.
    """
    kind = content_type(request)
    if kind.startswith("image/"):
        return b"".join([part async for part in limited(request, settings)])
    files = await read_files(request, settings, "image", 1)
    return files[0]


async def read_files(request: Request, settings: Settings, field: str, limit: int) -> list[bytes]:
    """The files in a multipart field, in order.

    Raises:
        RequestError: 400 wrong form, 413 too large or too many, 415 not multipart.
    """
    if content_type(request) != FORM:
        raise RequestError(
            415, "unsupported_media_type", f"Send {FORM} with the field {field!r}, or see /docs."
        )
    form = await _parse_form(request, settings, limit)
    try:
        parts = form.getlist(field)
        files = [part for part in parts if isinstance(part, UploadFile)]
        if len(files) < len(parts):
            raise RequestError(400, "not_a_file", f"The field {field!r} must hold a file.")
        if not files:
            raise RequestError(400, "missing_field", f"The form has no file field {field!r}.")
        return [await file.read() for file in files]
    finally:
        await form.close()


def content_type(request: Request) -> str:
    """The media type without parameters, in lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def limited(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    """The body's parts.

    Raises:
        RequestError: 413 as soon as the body, announced or received, is over the limit.
    """
    limit = settings.max_body_bytes
    announced = request.headers.get("content-length", "")
    received = 0
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    async for part in request.stream():
        received += len(part)
        if received > limit:
            raise _too_large(limit)
        yield part


class _MemoryParser(MultiPartParser):
    # A file that spills to disk would tie serving to a writable, roomy file system.
    spool_max_size = 2**62


async def _parse_form(request: Request, settings: Settings, files: int) -> FormData:
    parser = _MemoryParser(
        request.headers, limited(request, settings), max_files=files, max_fields=16
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            text = f"At most {files} file(s) in one request."
            raise RequestError(413, "too_many_items", text) from None
        raise RequestError(400, "invalid_form", error.message) from None
    except (KeyError, ValueError, UnicodeError):
        raise RequestError(400, "invalid_form", "The form could not be parsed.") from None


def _too_large(limit: int) -> RequestError:
    return RequestError(413, "body_too_large", f"The body is over {limit} bytes.")
