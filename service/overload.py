"""What comes while the worker is busy is refused for little, and not at once.

A flood comes to the same cores as the answers do: each refusal costs some, and a client that
asks again at once pays with the service's time. So a refusal is made before everything that a
request passes otherwise, and held back for a moment, which slows such a client down and which
no other one notices.
"""

import asyncio
import json
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from service import metrics
from service.errors import RETRY_AFTER
from service.gate import SAFE_HEADERS, choose_id
from service.health import Health
from service.load import Load

HOLD_SECONDS: Final = 0.06
"""A busy worker's event loop is some tens of milliseconds late; together below 0.1 s."""

MAX_HELD: Final = 1000
"""Most refusals held back in a worker; each may have 64 KiB of a body in memory."""

_TOLD_SECONDS: Final = 1.0
"""The log has one line for all refusals of so long: one each would cost more than they do."""


class Overload:
    """ASGI middleware in front of all others.

    Args:
        app: the application within.
        load: what the worker has taken on.
        health: while it drains, the application within answers, and closes the connection.
        paths: what is refused; all other paths are answered even then.
    """

    def __init__(self, app: ASGIApp, load: Load, health: Health, paths: frozenset[str]) -> None:
        self.app, self.load, self.health = app, load, health
        self.held = 0
        self._counters = {path: metrics.REQUESTS.labels(path, 503) for path in paths}
        self._codes = metrics.REJECTIONS.labels("unavailable")
        self._body = json.dumps(load.refusal().body()).encode()
        self._headers = _encode_headers(len(self._body))
        self._untold = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it where there is no room even after a moment."""
        counter = self._counters.get(scope["path"]) if scope["type"] == "http" else None
        if counter is None or not self.load.full or self.health.draining:
            await self.app(scope, receive, send)
            return
        await self._hold()
        if not self.load.full:
            await self.app(scope, receive, send)
            return
        counter.inc()
        self._codes.inc()
        self._note()
        await self._refuse(scope, send)

    async def _hold(self) -> None:
        if self.held >= MAX_HELD:
            return
        self.held += 1
        try:
            await asyncio.sleep(HOLD_SECONDS)
        finally:
            self.held -= 1

    async def _refuse(self, scope: Scope, send: Send) -> None:
        headers = [*self._headers, (b"x-request-id", choose_id(scope).encode())]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})

    def _note(self) -> None:
        if not self._untold:
            asyncio.get_running_loop().call_later(_TOLD_SECONDS, self._tell)
        self._untold += 1

    def _tell(self) -> None:
        details = {"refused": self._untold, "seconds": _TOLD_SECONDS}
        metrics.LOG.warning("busy", extra={"details": details})
        self._untold = 0


def _encode_headers(length: int) -> list[tuple[bytes, bytes]]:
    named = {
        **SAFE_HEADERS,
        "Content-Type": "application/json",
        "Content-Length": str(length),
        "Retry-After": RETRY_AFTER,
    }
    return [(name.lower().encode(), value.encode()) for name, value in named.items()]
