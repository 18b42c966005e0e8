"""What comes while the worker is busy is refused for little, and not at once.

A flood comes to the same cores as the answers do: each refusal costs some, and a client that
asks again at once pays with the service's time. So a refusal is made in uvicorn's protocol,
before a task, the middlewares and the route are begun for it (half of its cost), and held
back for a moment, which slows such a client down and which no other one notices.
"""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service import metrics
from service.errors import busy
from service.log import LOG
from service.server.health import Health
from service.server.load import Load
from service.server.raw_answer import RawAnswer
from service.server.request_log import choose_id

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

HEAVY: Final = frozenset({"/predict", "/predict_batch", "/explain"})
"""The paths that ask for the network; all others are answered even then."""

# A rise from nothing is none to Prometheus: the first error would not be seen.
for _path in HEAVY:
    for _status in (500, 503):
        metrics.REQUESTS.labels(_path, _status)

HOLD_SECONDS: Final = 0.05
"""A busy worker's event loop is some tens of milliseconds late; together below 0.1 s."""

MAX_HELD: Final = 2000
"""Most refusals held back in a worker; each may have 64 KiB of a body in memory."""

_TOLD_SECONDS: Final = 1.0
"""The log has one line for all refusals of so long: one each would cost more than they do."""


class Overload:
    """Says when to refuse in place of the application, and how.

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

    def refuses(self, scope: Any) -> bool:
        """Whether there is no room for a request now."""
        busy = self.load.full and not self.health.draining
        return busy and scope["path"] in HEAVY and scope["method"] == "POST"

    def encode_refusal(self, scope: Any, *, closes: bool) -> bytes:
        """A refusal's bytes; it is counted."""
        self._counters[scope["path"]].inc()
        self._codes.inc()
        if not self._untold:
            asyncio.get_running_loop().call_later(_TOLD_SECONDS, self._tell)
        self._untold += 1
        return self._answer.encode(choose_id(scope), closes=closes)

    def _tell(self) -> None:
        details = {"refused": self._untold, "seconds": _TOLD_SECONDS}
        LOG.warning("busy", extra={"details": details})
        self._untold = 0


class RefusingConnection(HttpToolsProtocol):
    """A connection whose requests are refused while the worker is busy.

    Attributes:
        overload: of the worker; None where nothing is refused here.
    """

    overload: ClassVar[Overload | None] = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        if self.overload is None or not self.overload.refuses(cycle.scope):
            super()._start_asgi_task(cycle, app)
        elif self.overload.held >= MAX_HELD:
            # Not at once, where the next of a pipeline of requests would be refused within.
            self.loop.call_soon(self._refuse, self.overload, cycle)
        else:
            self.overload.held += 1
            self.loop.call_later(HOLD_SECONDS, self._release, self.overload, cycle, app)

    def _release(
        self, overload: Overload, cycle: RequestResponseCycle, app: "ASGI3Application"
    ) -> None:
        overload.held -= 1
        if overload.refuses(cycle.scope):
            self._refuse(overload, cycle)
        elif not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    def _refuse(self, overload: Overload, cycle: RequestResponseCycle) -> None:
        if cycle.disconnected:
            return
        # Who waits to be told to go on may not send the body, and who does not read gets no more.
        closes = cycle.waiting_for_100_continue or self.flow.write_paused
        cycle.keep_alive = cycle.keep_alive and not closes
        cycle.response_started = cycle.response_complete = True
        self.transport.write(overload.encode_refusal(cycle.scope, closes=not cycle.keep_alive))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
