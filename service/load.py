"""How much a worker has taken on: requests in work and bytes of bodies in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import RequestError


class Load:
    """Two counters with limits.

    Args:
        max_requests: most requests in work, their bodies read.
        max_bytes: most bytes of bodies in memory.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self.requests = self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether there are `max_requests` in work."""
        return self.requests >= self.max_requests

    def refusal(self) -> RequestError:
        """503, for what comes while it is full."""
        text = f"The service is busy: {self.max_requests} requests are in work."
        return RequestError(503, "unavailable", text)

    def check(self) -> None:
        """Refuse before any work when the worker is busy already.

        Raises:
            RequestError: 503.
        """
        if self.full:
            raise self.refusal()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request while it is decoded and answered.

        Raises:
            RequestError: 503, there are `max_requests` already.
        """
        self.check()
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    @contextmanager
    def buffering(self) -> "Iterator[Buffer]":
        """A count of one request's bytes, given back at the end."""
        buffer = Buffer(self)
        try:
            yield buffer
        finally:
            self.bytes -= buffer.bytes


class Buffer:
    """One request's share of `Load.bytes`."""

    def __init__(self, load: Load) -> None:
        self.load, self.bytes = load, 0

    def add(self, count: int) -> None:
        """Count bytes as received.

        Raises:
            RequestError: 503, all requests together hold too many.
        """
        if self.load.bytes + count > self.load.max_bytes:
            raise RequestError(503, "unavailable", "The service is busy: too much is coming in.")
        self.load.bytes += count
        self.bytes += count
