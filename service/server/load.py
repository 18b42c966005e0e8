"""How much a worker has taken on: requests and images in work, bytes of bodies in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import busy, unavailable


class Load:
    """Three counters with limits.

    Args:
        max_requests: most requests in work, their bodies read.
        max_images: most images in work; one that shows many faces counts once.
        max_bytes: most bytes of bodies in memory.
    """

    def __init__(self, max_requests: int, max_images: int, max_bytes: int) -> None:
        self.max_requests, self.max_images, self.max_bytes = max_requests, max_images, max_bytes
        self.requests = self.images = self.bytes = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for one more image."""
        return not self._has_room(1)

    def check(self) -> None:
        """Refuse before any work when the worker is busy already.

        Raises:
            RequestError: 503.
        """
        if self.full:
            raise busy()

    @contextmanager
    def working(self, images: int) -> Iterator[None]:
        """Count a request and its images while they are decoded and answered.

        Raises:
            RequestError: 503, there is no room for it.
        """
        if not self._has_room(images):
            raise busy()
        self.requests += 1
        self.images += images
        try:
            yield
        finally:
            self.requests -= 1
            self.images -= images

    def _has_room(self, images: int) -> bool:
        return self.requests < self.max_requests and self.images + images <= self.max_images

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
            raise unavailable("The service is busy: too much is coming in.")
        self.load.bytes += count
        self.bytes += count
