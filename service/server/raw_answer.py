"""Answers that are written in uvicorn's protocol, beneath the application."""

import json
from http import HTTPStatus

from service.errors import RequestError
from service.server.request_log import SAFE_HEADERS


class RawAnswer:
    """An error's answer, made once and written for many requests.

    Args:
        error: what is answered; counting it is the caller's.
    """

    def __init__(self, error: RequestError) -> None:
        self._body = json.dumps(error.body(), separators=(",", ":")).encode()
        headers = {
            **SAFE_HEADERS,
            **error.all_headers(),
            "Content-Type": "application/json",
            "Content-Length": str(len(self._body)),
        }
        headers.pop("Connection", None)
        lines = [f"{name.lower()}: {value}\r\n" for name, value in headers.items()]
        phrase = HTTPStatus(error.status).phrase
        self._head = "".join([f"HTTP/1.1 {error.status} {phrase}\r\n", *lines]).encode()

    def encode(self, request_id: str, *, closes: bool) -> bytes:
        """Its bytes for one request.

        Args:
            request_id: of the request.
            closes: whether the connection ends with it.
        """
        named = b"x-request-id: %s\r\n" % request_id.encode()
        ending = b"connection: close\r\n\r\n" if closes else b"\r\n"
        return b"".join((self._head, named, ending, self._body))
