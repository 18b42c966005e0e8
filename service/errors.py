"""Errors a client sees, all as `{"error": {"code", "message"}}`."""

from typing import Final, NamedTuple

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service import metrics

RETRY_AFTER: Final = "1"
"""Seconds, in the answers of 429 and 503 that do not know better."""

_CLOSING: Final = (408, 414, 431)
"""After these the rest of the request is not read, so the connection cannot go on. Not after 413: a
client that still sends its body would be reset before it reads the answer. It has about as long for
that as for a head."""

GONE: Final = 499
"""nginx's status of a request whose client hung up, which nobody reads."""


class Refusal(NamedTuple):
    """When a status is answered, and the codes that say why."""

    when: str
    codes: tuple[str, ...]


REFUSALS: Final = {
    400: Refusal(
        "The form or a field is wrong, a file is empty, or an option in the query is unknown, "
        "repeated or of another value.",
        (
            "empty_file",
            "invalid_form",
            "invalid_option",
            "missing_field",
            "too_many_files",
        ),
    ),
    401: Refusal("A key is needed.", ("unauthorized",)),
    403: Refusal("No admin key is set.", ("no_admin_key",)),
    404: Refusal("No such path.", ("not_found",)),
    405: Refusal("Not this method.", ("method_not_allowed",)),
    408: Refusal("The body came too slowly.", ("request_timeout",)),
    409: Refusal(
        "The new model was refused, or one version is fixed; the old one stays in service.",
        ("model_refused", "model_fixed"),
    ),
    413: Refusal(
        "Too many bytes, images or pixels.", ("body_too_large", "too_many_items", "too_many_pixels")
    ),
    414: Refusal("The address is too large.", ("head_too_large",)),
    415: Refusal(
        "Not a form or an image, or not one of a known format.",
        ("unsupported_media_type", "unsupported_format"),
    ),
    422: Refusal("A broken or refused image, or no face in it.", ("invalid_image", "no_face")),
    429: Refusal("Too many requests for this key.", ("rate_limited",)),
    431: Refusal("The headers are too large.", ("head_too_large",)),
    500: Refusal("A fault of the service.", ("internal",)),
    501: Refusal("Faces are to be found and the extra is not installed.", ("no_detector",)),
    503: Refusal(
        "Not ready, full, draining, or too slow.",
        ("unavailable", "stalled", "draining", "deadline_exceeded"),
    ),
}


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status code, one of `REFUSALS` or `GONE`.
        code: short constant for programs, one of the status's.
        message: one sentence for people.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}

    def body(self) -> dict[str, dict[str, str]]:
        """The JSON answer."""
        return {"error": {"code": self.code, "message": self.message}}

    def response(self) -> JSONResponse:
        """Count the refusal and give the whole answer."""
        metrics.REJECTIONS.labels(self.code).inc()
        return _Refused(self)

    def all_headers(self) -> dict[str, str]:
        """The answer's headers, with those that the status asks for."""
        headers = dict(self.headers)
        if self.status in (429, 503):
            headers.setdefault("Retry-After", RETRY_AFTER)
        if self.status in _CLOSING:
            headers["Connection"] = "close"
        return headers


class _Refused(JSONResponse):
    """An error's answer, whose code is for the request's log line in `scope["refusal"]`."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.body(), error.status, error.all_headers())
        self._code = error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["refusal"] = self._code
        await super().__call__(scope, receive, send)


def unavailable(message: str) -> RequestError:
    """503: the service cannot take this on now."""
    return RequestError(503, "unavailable", message)


def busy() -> RequestError:
    """503: as much is in work as the worker takes."""
    return unavailable("The service is busy: it has all the work it takes.")


def stalled() -> RequestError:
    """503: a forward pass has begun and does not end."""
    return RequestError(503, "stalled", "The network hangs.")


def late() -> RequestError:
    """503: the time for an answer has passed."""
    return RequestError(503, "deadline_exceeded", "There was no answer in time; try again later.")
