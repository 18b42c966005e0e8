"""Connections that bring no request, or take no answer, are closed; and there is room for many.

uvicorn waits without end for the first request of a connection, and for the rest of a head
that has begun (its keep-alive limit counts only from an answer to the next byte), so that a
few thousand silent clients could hold every file that a worker may open (Slowloris). Nor does it
end the wait for a client that reads no more of its answer.
"""

import asyncio
import resource
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final

from service.server.request_heads import LimitedHeads

_LOOKS: Final = 4
"""Looks at all connections within the limit; one is closed that much of it late at most."""


def raise_file_limit() -> None:
    """Let this process open as many files, connections among them, as the system allows it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Connections:
    """This worker's connections, of which those that are stuck are closed.

    Args:
        seconds: longest time in which a head must come, from the connection or its first byte, and
            in which a client must read on, while some of its answer waits.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: weakref.WeakSet[WatchedConnection] = weakref.WeakSet()
        self._headless = _Waits(_waits_for_head)
        self._unread = _Waits(_waits_for_reader)
        self._task: asyncio.Task[None] | None = None

    def add(self, connection: "WatchedConnection") -> None:
        """Watch a new one."""
        self._open.add(connection)
        # What the kernel holds for a client that reads no more counts as sent up here.
        # Only Linux can limit it, and only for TCP.
        with suppress(AttributeError, OSError):
            own = connection.transport.get_extra_info("socket")
            limit = round(1000 * self.seconds)
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)

    def note_reading(self, connection: "WatchedConnection") -> None:
        """The client of one has read on."""
        self._unread.end(connection)

    def watch(self) -> None:
        """Close what is stuck from now on; call in the event loop."""
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / _LOOKS)
            for connection in self._headless.find(self._open, self.seconds):
                connection.transport.close()
            for connection in self._unread.find(self._open, self.seconds):
                # Closing would wait for the client to read.
                connection.transport.abort()


class WatchedConnection(LimitedHeads):
    """A connection that is watched.

    Attributes:
        watcher: knows all of them.
    """

    watcher: ClassVar[Connections]

    # uvicorn's own has the narrower type, too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.watcher.add(self)

    def resume_writing(self) -> None:
        """Go on with the answer."""
        self.watcher.note_reading(self)
        super().resume_writing()


class _Waits:
    """Since when connections wait for something, as seen when last looked."""

    def __init__(self, waits: Callable[[WatchedConnection], bool]) -> None:
        self._waits = waits
        self._since: weakref.WeakKeyDictionary[WatchedConnection, float]
        self._since = weakref.WeakKeyDictionary()

    def end(self, connection: WatchedConnection) -> None:
        self._since.pop(connection, None)

    def find(
        self, connections: weakref.WeakSet[WatchedConnection], seconds: float
    ) -> list[WatchedConnection]:
        """Those that have waited for so long."""
        now = time.monotonic()
        since = {each: self._since.get(each, now) for each in connections if self._waits(each)}
        self._since = weakref.WeakKeyDictionary(since)
        return [each for each, begun in since.items() if now - begun >= seconds]


def _waits_for_reader(connection: WatchedConnection) -> bool:
    """Whether what it writes is not read; a closed one leaves uvicorn's set once all of it is."""
    leaving = connection.transport.is_closing() and connection in connection.connections
    return leaving or connection.flow.write_paused


def _waits_for_head(connection: WatchedConnection) -> bool:
    if connection.transport.is_closing():
        return False
    answered = connection.cycle is None or connection.cycle.response_complete
    # An idle connection between two requests has the keep-alive limit. One whose next head began
    # in the read that ended the request before has it, too, and is not idle.
    return answered and (connection.timeout_keep_alive_task is None or connection.head_bytes > 0)
