"""What every request passes first: its id, its log line, its metrics, safe headers."""

import logging
import random
import re
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics
from service.errors import GONE, RequestError
from service.log import LOG, REQUEST_ID
from service.server.balance import Balance
from service.server.health import Health
from service.server.tracing import TRACING

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_PROBED: Final = {"/livez", "/readyz", "/metrics"}
"""Asked by machines every few seconds; their lines would bury the others."""

OTHER: Final = "other"
"""The route of all unknown paths in metrics and log."""

SAFE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Set where a route does not set its own (OWASP Secure Headers Project)."""


class RequestLog:
    """ASGI middleware around all routes.

    Nothing that a client sends becomes a label or a log text as it is: paths are named by
    their route, and an `X-Request-ID` is taken over only if it is short and plain.

    Args:
        app: the application within.
        health: told by shutdown; while it drains, connections are closed after each answer.
        balance: counts the requests, and says when a connection should go to another worker.
        paths: the known paths; all others are counted as `other`.
    """

    def __init__(
        self, app: ASGIApp, health: Health, balance: Balance, paths: frozenset[str]
    ) -> None:
        self.app, self.health, self.balance, self.paths = app, health, balance, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self.paths else OTHER
        request_id = choose_id(scope)
        REQUEST_ID.set(request_id)
        exchange = _Exchange(receive, send, self._add_headers)
        self.balance.enter()
        trace = TRACING.request(scope, route, request_id, lambda: exchange.status)
        try:
            with metrics.IN_PROGRESS.track_inprogress(), trace:
                await self._answer(scope, exchange)
        finally:
            self.balance.leave()
            exchange.note(route, scope.get("refusal"))

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        receive, send = exchange.receive, exchange.send
        try:
            # Patterns that end in "$" also match before a newline, which keys are not checked for.
            if not scope["path"].isprintable():
                error = RequestError(404, "not_found", "Not Found; see /docs.")
                await error.response()(scope, receive, send)
                return
            await self.app(scope, receive, send)
        except Exception:
            if exchange.status == GONE:
                return
            LOG.exception("a request failed")
            if exchange.status:
                raise
            error = RequestError(500, "internal", "The service failed; this has been logged.")
            await error.response()(scope, receive, send)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-ID"] = REQUEST_ID.get()
        for name, value in SAFE_HEADERS.items():
            headers.setdefault(name, value)
        if self.health.draining or self.balance.gives_away():
            headers["Connection"] = "close"


class _Exchange:
    """A request and its answer on their way.

    Attributes:
        begun, read: when it came and when the last of its body did, in seconds of
            `time.perf_counter`.
        status: of the answer; 0 before it, `GONE` if nobody is there to take it.
    """

    def __init__(
        self, receive: Receive, send: Send, add_headers: Callable[[Message], None]
    ) -> None:
        self._receive, self._send, self._add_headers = receive, send, add_headers
        self.begun = self.read = time.perf_counter()
        self.status = 0

    async def receive(self) -> Message:
        """What the client sends next."""
        message = await self._receive()
        # At each part: one that is refused midway never becomes whole.
        if message["type"] == "http.request":
            self.read = time.perf_counter()
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add_headers(message)
        try:
            await self._send(message)
        except RuntimeError as error:
            # uvloop has no other word for a connection that is gone.
            if "handler is closed" not in str(error):
                raise
            self.status = GONE
            raise ClientDisconnect from None

    def note(self, route: str, code: str | None) -> None:
        """Count it and write its line, which tells the code of an error."""
        code = "client_disconnected" if self.status == GONE else code
        upload, seconds = self.read - self.begun, time.perf_counter() - self.read
        metrics.REQUESTS.labels(route, self.status).inc()
        # How slow a client is says nothing of the service.
        if self.status not in (408, GONE):
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        if upload:
            metrics.UPLOAD_SECONDS.observe(upload)
        tell_request(route, self.status, upload, seconds, code)


def choose_id(scope: Scope) -> str:
    """The request's id: the client's where it is plain, else a new one."""
    named = Headers(scope=scope).get("x-request-id", "")
    return named if _ID.fullmatch(named) else new_id()


def new_id() -> str:
    """An id for a request."""
    # Not from the system: each call there hands the interpreter to another thread.
    return f"{random.getrandbits(64):016x}"


def tell_request(
    route: str, status: int, upload: float, seconds: float, code: str | None = None
) -> None:
    """Write a request's line into the log; `code` says why it was refused."""
    level = logging.DEBUG if route in _PROBED and status == 200 else logging.INFO
    if LOG.isEnabledFor(level):
        details: dict[str, object] = {
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "upload_milliseconds": round(1000 * upload, 2),
        }
        if code:
            details["code"] = code
        LOG.log(level, "request", extra={"details": details})
