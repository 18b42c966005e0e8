"""Who may ask: API keys, and how often each may."""

import fcntl
import hashlib
import hmac
import mmap
import os
import struct
import time
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import RequestError
from service.log import LOG
from service.server.shared_folder import allocate, shared_folder
from service.settings import Settings

OPEN: Final = frozenset({"/", "/docs", "/openapi.json", "/livez", "/readyz"})
"""Paths that need no key, besides the pages' files."""

OPEN_FOLDERS: Final = ("/page/", "/static_content/")


class Access:
    """ASGI middleware: checks keys and rates before a body is read.

    With `EMOTION_API_KEYS` every path but the open ones needs one of them, as
    `Authorization: Bearer KEY` or `X-API-Key: KEY`. `/metrics` needs `EMOTION_ADMIN_KEY`
    instead where it is set, `/admin/` always.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.keys = _digests(settings.api_keys)
        self.admin = _digests([settings.admin_key] if settings.admin_key else [])
        self.meter = Meter(len(self.keys), settings.rate_limit) if settings.rate_limit else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        try:
            if scope["type"] == "http":
                self._check(scope["path"], Headers(scope=scope))
        except RequestError as error:
            await error.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        if path.startswith("/admin/") and not self.admin:
            raise RequestError(403, "no_admin_key", "This needs EMOTION_ADMIN_KEY to be set.")
        if self.admin and (path == "/metrics" or path.startswith("/admin/")):
            _find_key(headers, self.admin, "the admin key")
        elif self.keys and path not in OPEN and not path.startswith(OPEN_FOLDERS):
            index = _find_key(headers, self.keys, "a valid key")
            if self.meter and path != "/metrics":
                self.meter.count(index)


def _digests(keys: Sequence[SecretStr]) -> list[bytes]:
    return [hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys]


def _find_key(headers: Headers, digests: list[bytes], wanted: str) -> int:
    """The place of the request's key in the list, found in constant time.

    Raises:
        RequestError: 401.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    # A gateway may need the one for itself, and pass it on.
    given = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
    first, second = (hashlib.sha256(key.strip().encode()).digest() for key in given)
    found = [
        hmac.compare_digest(first, digest) | hmac.compare_digest(second, digest)
        for digest in digests
    ]
    if not any(found):
        text = f"Send {wanted} as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."
        raise RequestError(401, "unauthorized", text, {"WWW-Authenticate": "Bearer"})
    return found.index(True)


class Meter:
    """A rate limit for each key, over all workers of a server.

    The generic cell rate algorithm (ITU-T I.371): one number a key, the time up to which
    its requests are used up. The numbers lie in a file that the workers share; where it has no
    room, each worker counts alone.

    Args:
        keys: how many keys there are.
        rate: requests a second; twice as many may come at once.
    """

    def __init__(self, keys: int, rate: float) -> None:
        self.interval, self.burst = 1 / rate, max(1.0, 2 * rate)
        self._file = _open_rates(8 * keys)
        self._times = mmap.mmap(self._file, 8 * keys)

    def count(self, index: int) -> None:
        """Count one request of a key.

        Raises:
            RequestError: 429 with the time to wait, it has used up its share.
        """
        now = time.monotonic()
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            (used,) = struct.unpack_from("d", self._times, 8 * index)
            wait = used + self.interval - now - self.burst * self.interval
            if wait <= 0:
                struct.pack_into("d", self._times, 8 * index, max(used, now) + self.interval)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        if wait > 0:
            seconds = int(wait) + 1
            text = f"This key's rate is used up; ask again in {seconds} s."
            raise RequestError(429, "rate_limited", text, {"Retry-After": str(seconds)})


def _open_rates(size: int) -> int:
    """The server's file of so many bytes, or one of this process alone."""
    if folder := shared_folder():
        try:
            allocate(folder / "rates", size)
            return os.open(folder / "rates", os.O_RDWR)
        except OSError as error:
            LOG.error("each worker counts the keys' requests alone: %s", error)
    alone = os.memfd_create("rates")
    os.ftruncate(alone, size)
    return alone
