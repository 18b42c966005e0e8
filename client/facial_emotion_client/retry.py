"""When to ask again, and how long to wait before it."""

import itertools
import random
import ssl
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final

import httpx

BUSY: Final = (429, 502, 503, 504)
"""502 and 504 are a proxy's words for a connection error."""

_BROKEN: Final = (
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)

Outcome = httpx.Response | httpx.HTTPError


@dataclass(frozen=True)
class Call:
    """One HTTP request to be made.

    Attributes:
        method: the HTTP method.
        path: below the service's address, with its query.
        files: of the multipart form, field and content each; none for no body.
        delay: seconds to wait before it.
    """

    method: str
    path: str
    files: tuple[tuple[str, bytes], ...] = ()
    delay: float = 0.0


@dataclass(frozen=True)
class Retry:
    """How to go on after 429, 502, 503, 504 and broken connections.

    The wait is what `Retry-After` asks for, or doubles with each attempt and is shortened
    by up to a half at random, whichever is longer. A prediction changes nothing on the
    server, so asking twice is harmless.

    Attributes:
        first: longest wait after the first attempt without `Retry-After`, seconds.
        most: longest wait between two attempts, seconds; caps `Retry-After` too.
        total: no attempt starts later than this after the first, seconds; 0: no retry.
    """

    first: float = 0.25
    most: float = 30.0
    total: float = 60.0

    def __post_init__(self) -> None:
        if min(self.first, self.most, self.total) < 0:
            raise ValueError(f"a time is negative: {self}")

    def wait(self, outcome: Outcome, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None: asking again is of no use.

        Args:
            outcome: of the last attempt.
            attempt: its number, from 0.
        """
        asked = 0.0
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in BUSY:
                return None
            asked = read_retry_after(outcome.headers.get("Retry-After", "")) or 0.0
        elif not isinstance(outcome, _BROKEN) or _is_untrusted(outcome):
            return None
        backoff: float = self.first * 2 ** min(attempt, 30) * random.uniform(0.5, 1)
        return min(max(asked, backoff), self.most)


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether it is, or comes of, a certificate that this machine does not trust."""
    while error and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


DEFAULT: Final = Retry()


def persist(
    call: Call, retry: Retry, enough: Callable[[Outcome], bool] = lambda _: False
) -> Generator[Call, Outcome, Outcome]:
    """Yield the call, again and again with delays, until its outcome is final.

    Whoever drives it waits for the delay, makes the call and sends the outcome back; so
    one policy serves blocking and asynchronous code. An outcome that is `enough` is final too.

    Returns:
        The last outcome.
    """
    begun = monotonic()
    outcome = yield call
    for attempt in itertools.count():
        if enough(outcome):
            break
        wait = retry.wait(outcome, attempt)
        if wait is None or monotonic() - begun + wait >= retry.total:
            break
        outcome = yield replace(call, delay=wait)
    return outcome


def address_of(outcome: Outcome) -> str:
    """The address of the service that was asked, without a password in it."""
    url = outcome.request.url.join(".")
    return str(url.copy_with(username="", password="")).rstrip("/")


def read_retry_after(text: str) -> float | None:
    """Seconds from now in a `Retry-After` header, a number or an HTTP date; None for junk."""
    try:
        if text.strip().isdecimal():
            return float(int(text))
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
