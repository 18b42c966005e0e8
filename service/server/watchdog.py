"""A worker that only a restart can help leaves by itself, and BentoML starts another one.

A probe from outside reaches one of a server's workers by chance, and hardly ever meets the broken
one three times in a row.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import State

from service.errors import RequestError
from service.log import LOG
from service.server.health import PATIENCE

LOOK_SECONDS: Final = 1.0
"""Between two looks at the network."""


def leave() -> None:
    """End this worker as an operator would: what can be answered still is."""
    os.kill(os.getpid(), signal.SIGTERM)


async def watch(state: State, leave: Callable[[], None] = leave) -> None:
    """Look at the network, show whether it is well, and leave when it is not for long.

    While it is not, the server's other workers keep their connections, and this one closes its.

    Args:
        state: of the application; has `backend`, `health` and `balance`.
        leave: called once, after which nothing is watched.
    """
    well = time.monotonic()
    while not state.health.draining:
        await asyncio.sleep(LOOK_SECONDS)
        batcher = state.backend.batcher
        try:
            await state.health.check_ready(batcher)
        except RequestError as error:
            state.balance.avoid(True)
            if time.monotonic() - well > PATIENCE * batcher.stall_seconds:
                LOG.critical("%s for too long; another worker is to come", error.message)
                leave()
                return
        else:
            state.balance.avoid(False)
            well = time.monotonic()
