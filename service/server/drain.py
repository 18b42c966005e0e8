"""Leaving without losing a request.

On SIGTERM a worker first says that it is not ready and goes on answering, so that load
balancers look elsewhere; then the server's own handler closes the port and finishes what was
accepted. A thread ends the process when its grace time is over, whatever hangs.
"""

import asyncio
import os
import signal
import threading
import time
from types import FrameType

from service import metrics
from service.log import LOG, flush_log
from service.server.health import Health


def drain_on_sigterm(health: Health, drain_seconds: float, grace_seconds: float) -> None:
    """Put this phase before the handler that is installed now; call inside the event loop.

    Args:
        health: turned to draining.
        drain_seconds: time between not ready and closing.
        grace_seconds: time from the signal within which the process leaves.
    """
    finish = signal.getsignal(signal.SIGTERM)
    if not callable(finish) or threading.current_thread() is not threading.main_thread():
        return
    loop, told = asyncio.get_running_loop(), threading.Event()

    # It may come while this thread holds any lock, a metric's or the log's, and takes none itself.
    def begin(number: int, frame: FrameType | None) -> None:
        if health.draining:
            return
        health.draining = True
        told.set()
        loop.call_soon_threadsafe(loop.call_later, drain_seconds, finish, number, frame)

    def watch() -> None:
        told.wait()
        metrics.READY.set(0)
        time.sleep(grace_seconds)
        _leave()

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, begin)


def _leave() -> None:
    def tell() -> None:
        LOG.error("the grace time is over; leaving with work unfinished")
        flush_log()

    # What hangs may hold the log's lock.
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(1)
    os._exit(1)
