"""What uvicorn serves each connection by: its own protocol, with limits that it lacks."""

from typing import Any

from uvicorn.config import HTTP_PROTOCOLS

from service.server.connections import Connections, WatchedConnection
from service.server.overload import Overload, RefusingConnection
from service.server.request_parser import RequestParser


class Protocol(WatchedConnection, RefusingConnection):
    """A connection with all limits; requests for another protocol are answered over HTTP.

    uvicorn would leave those, such as WebSocket's, to an application of that kind, of which there
    is none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser = RequestParser(self)  # type: ignore[assignment]  # has what uvicorn calls

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

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
