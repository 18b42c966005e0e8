"""Answers to requests that end in an exception."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import GONE, RequestError


async def refuse_gone(request: Request, _: Exception) -> Response:
    """Close the books on a request whose sender hung up."""
    return await refuse(request, RequestError(GONE, "client_disconnected", "The client hung up."))


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer an error that Starlette raised: there is no such path or file, or not this method."""
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    text, headers = f"{error.detail}; see /docs.", dict(error.headers or {})
    return await refuse(request, RequestError(error.status_code, code, text, headers))


async def refuse(_: Request, error: Exception) -> Response:
    """Answer a `RequestError`."""
    assert isinstance(error, RequestError)
    return error.response()


HANDLERS: Final = {
    RequestError: refuse,
    HTTPException: refuse_http,
    ClientDisconnect: refuse_gone,
}
