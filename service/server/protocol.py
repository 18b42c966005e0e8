"""What uvicorn serves each connection by: its own protocol, with limits that it lacks."""

from typing import Any, Final

from uvicorn.config import HTTP_PROTOCOLS

from service.server.connections import Connections, WatchedConnection
from service.server.overload import Overload, RefusingConnection
from service.server.request_parser import RequestParser

IDLE_SECONDS: Final = 620
"""Least time for which an idle connection is kept. A proxy that keeps its own for longer sends a
request into one that is just being closed, and answers 502; Google's load balancer keeps them for
600 s, whatever is set."""


class Protocol(WatchedConnection, RefusingConnection):
    """A connection with all limits; requests for another protocol are answered over HTTP.

    uvicorn would leave those, such as WebSocket's, to an application of that kind, of which there
    is none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.timeout_keep_alive = max(self.timeout_keep_alive, IDLE_SECONDS)
        self.parser = RequestParser(self)  # type: ignore[assignment]  # has what uvicorn calls

    def connection_lost(self, exc: Exception | None) -> None:
        """End it, also where it was reset: uvicorn's timer would keep it in memory then."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        # One that was answered before its body was there is idle from here on.
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _should_upgrade(self) -> bool:
        return False

    # The parser reads nothing that comes after a request to a proxy.
    def _unsupported_upgrade_warning(self) -> None:
        if self.cycle is not None:
            self.cycle.keep_alive = False


def set_protocol(watcher: Connections, max_head_bytes: int, overload: Overload | None) -> None:
    """Let uvicorn serve by it; call before it starts.

    Args:
        watcher: closes the connections that are stuck.
        max_head_bytes: largest address and headers of a request.
        overload: refuses what comes while the worker is busy; None leaves that to the routes.
    """
    Protocol.watcher, Protocol.max_head_bytes = watcher, max_head_bytes
    Protocol.overload = overload
    # BentoML makes uvicorn's configuration and leaves the protocol to it.
    HTTP_PROTOCOLS["auto"] = f"{Protocol.__module__}:{Protocol.__name__}"
