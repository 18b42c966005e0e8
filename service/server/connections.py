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
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LOOKS: Final = 4
"""Looks at all connections within the limit; one is closed that much of it late at most."""


def raise_file_limit() -> None:
    """Let this process open as many files, connections among them, as the system allows it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


Since = weakref.WeakKeyDictionary[Any, float]
"""From when on a connection waits."""


class Connections:
    """Tracks this worker's connections and closes those that are stuck.

    The protocol counts the bytes of heads (`request_heads.limit_heads`).

    Args:
        seconds: longest time in which a head must come, from the connection or its first byte, and
            in which a client must read on, while some of its answer waits.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._since: Since = weakref.WeakKeyDictionary()
        self._unread: Since = weakref.WeakKeyDictionary()
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Note each connection from now on, and close what is stuck; call in the event loop."""
        self._note_new()
        self._task = asyncio.create_task(self._look())

    def close_late(self, now: float) -> int:
        """Close the connections whose head is late; how many.

        Args:
            now: on the clock of `time.monotonic`.
        """
        self._since, late = self._look_at(self._since, _waits_for_head, now)
        for connection in late:
            connection.transport.close()
        return len(late)

    def abort_unread(self, now: float) -> int:
        """Drop the connections whose client has long not read on; how many.

        Args:
            now: on the clock of `time.monotonic`.
        """
        self._unread, late = self._look_at(self._unread, _waits_for_reader, now)
        for connection in late:
            # Closing would wait for the client to read.
            connection.transport.abort()
        return len(late)

    def _look_at(
        self, before: Since, waits: Callable[[Any], bool], now: float
    ) -> tuple[Since, list[Any]]:
        """From when on the connections wait that do, and which of them wait for too long."""
        since = {each: before.get(each, now) for each in self._open if waits(each)}
        late = [each for each, begun in since.items() if now - begun >= self.seconds]
        return weakref.WeakKeyDictionary(since), late

    def _note_new(self) -> None:
        protocol: Any = HttpToolsProtocol
        accept, resume = protocol.connection_made, protocol.resume_writing

        def connection_made(connection: Any, transport: asyncio.Transport) -> None:
            accept(connection, transport)
            self._open.add(connection)
            # What the kernel holds for a client that reads no more counts as sent up here.
            # Only Linux can limit it, and only for TCP.
            with suppress(AttributeError, OSError):
                own, limit = transport.get_extra_info("socket"), round(1000 * self.seconds)
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)

        def resume_writing(connection: Any) -> None:
            self._unread.pop(connection, None)
            resume(connection)

        protocol.connection_made, protocol.resume_writing = connection_made, resume_writing

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / _LOOKS)
            self.close_late(time.monotonic())
            self.abort_unread(time.monotonic())


def _waits_for_reader(connection: Any) -> bool:
    """Whether what it writes is not read; a closed one leaves uvicorn's set once all of it is."""
    leaving = connection.transport.is_closing() and connection in connection.connections
    return leaving or connection.flow.write_paused


def _waits_for_head(connection: Any) -> bool:
    if connection.transport.is_closing():
        return False
    answered = connection.cycle is None or connection.cycle.response_complete
    # An idle connection between two requests has the keep-alive limit. One whose next head began
    # in the read that ended the request before has it, too, and is not idle.
    return answered and (connection.timeout_keep_alive_task is None or connection.head_bytes > 0)


def ignore_upgrades(protocol: Any) -> None:
    """Answer requests that ask for another protocol, such as WebSocket, over HTTP, from now on.

    uvicorn would leave them to an application for WebSocket, of which there is none.

    Args:
        protocol: uvicorn's class for httptools, changed in place.
    """

    # The parser reads nothing that comes after such a request.
    def close_after_answer(connection: Any) -> None:
        if connection.cycle is not None:
            connection.cycle.keep_alive = False

    protocol._should_upgrade = lambda _: False
    protocol._unsupported_upgrade_warning = close_after_answer
