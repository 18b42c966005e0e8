"""What comes while the worker is busy is refused for little, and not at once.

A flood comes to the same cores as the answers do: each refusal costs some, and a client that
asks again at once pays with the service's time. So a refusal is made in uvicorn's protocol,
before a task, the middlewares and the route are begun for it (half of its cost), and held
back for a moment, which slows such a client down and which no other one notices.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import metrics
from service.errors import busy
from service.log import LOG
from service.server.health import Health
from service.server.load import Load
from service.server.raw_answer import RawAnswer
from service.server.request_log import choose_id

HEAVY: Final = frozenset({"/predict", "/predict_batch", "/explain"})
"""The paths that ask for the network; all others are answered even then."""

HOLD_SECONDS: Final = 0.05
"""A busy worker's event loop is some tens of milliseconds late; together below 0.1 s."""

MAX_HELD: Final = 2000
"""Most refusals held back in a worker; each may have 64 KiB of a body in memory."""

_TOLD_SECONDS: Final = 1.0
"""The log has one line for all refusals of so long: one each would cost more than they do."""


class Overload:
    """Refuses in place of the application within.

    Args:
        load: what the worker has taken on.
        health: while it drains, the application answers, and closes the connection.
    """

    def __init__(self, load: Load, health: Health) -> None:
        self.load, self.health = load, health
        self.held = 0
        self._counters = {path: metrics.REQUESTS.labels(path, 503) for path in HEAVY}
        self._codes = metrics.REJECTIONS.labels("unavailable")
        self._answer = RawAnswer(busy())
        self._untold = 0

    def watch(self) -> None:
        """Refuse from now on; call in the event loop."""
        protocol: Any = HttpToolsProtocol
        start = protocol._start_asgi_task

        def start_or_hold(connection: Any, cycle: Any, app: Any) -> None:
            if not self._refuses(cycle.scope):
                start(connection, cycle, app)
            elif self.held >= MAX_HELD:
                # Not at once, where the next of a pipeline of requests would be refused within.
                connection.loop.call_soon(refuse, connection, cycle)
            else:
                self.held += 1
                connection.loop.call_later(HOLD_SECONDS, release, connection, cycle, app)

        def release(connection: Any, cycle: Any, app: Any) -> None:
            self.held -= 1
            if self._refuses(cycle.scope):
                refuse(connection, cycle)
            elif not cycle.disconnected:
                start(connection, cycle, app)

        def refuse(connection: Any, cycle: Any) -> None:
            if not cycle.disconnected:
                self._refuse(connection, cycle)

        protocol._start_asgi_task = start_or_hold

    def _refuses(self, scope: Any) -> bool:
        busy = self.load.full and not self.health.draining
        return busy and scope["path"] in HEAVY and scope["method"] == "POST"

    def _refuse(self, connection: Any, cycle: Any) -> None:
        # Who waits to be told to go on may not send the body, and who does not read gets no more.
        closes = cycle.waiting_for_100_continue or connection.flow.write_paused
        cycle.keep_alive = cycle.keep_alive and not closes
        cycle.response_started = cycle.response_complete = True
        answer = self._answer.encode(choose_id(cycle.scope), closes=not cycle.keep_alive)
        connection.transport.write(answer)
        if not cycle.keep_alive:
            connection.transport.close()
        connection.on_response_complete()
        self._count(cycle.scope["path"])

    def _count(self, path: str) -> None:
        self._counters[path].inc()
        self._codes.inc()
        if not self._untold:
            asyncio.get_running_loop().call_later(_TOLD_SECONDS, self._tell)
        self._untold += 1

    def _tell(self) -> None:
        details = {"refused": self._untold, "seconds": _TOLD_SECONDS}
        LOG.warning("busy", extra={"details": details})
        self._untold = 0
