"""Errors a client sees, all as `{"error": {"code", "message"}}`."""

from typing import Final

from starlette.responses import JSONResponse

from service import metrics

RETRY_AFTER: Final = "1"
"""Seconds, in the answers of 429 and 503 that do not know better."""

_CLOSING: Final = (408, 413, 414, 431)
"""After these the rest of the request is not read, so the connection cannot go on."""

GONE: Final = 499
"""nginx's status of a request whose client hung up, which nobody reads."""


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP status code, 4xx, 500, 501 or 503.
        code: short constant for programs.
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
        headers = dict(self.headers)
        if self.status in (429, 503):
            headers.setdefault("Retry-After", RETRY_AFTER)
        if self.status in _CLOSING:
            headers["Connection"] = "close"
        return JSONResponse(self.body(), self.status, headers)
