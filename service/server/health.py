"""Whether a worker is alive, and whether it should get requests."""

import asyncio
from typing import Final

import numpy as np

from service import metrics
from service.errors import RequestError, stalled
from service.inference.batching import Batcher
from service.preprocess import IMAGE_SIZE

PATIENCE: Final = 3
"""A network that hangs or fails for so many times the stall limit does not come back."""


class Health:
    """The worker's state.

    Attributes:
        draining: the worker is about to leave; it still answers, but wants no more.
    """

    def __init__(self) -> None:
        self.draining = False

    def check_live(self, batcher: Batcher) -> None:
        """Refuse when only a restart helps.

        Raises:
            RequestError: 503, a forward pass has hung for three times the stall limit, or there
                are none any more.
        """
        if batcher.ended or batcher.running_seconds > PATIENCE * batcher.stall_seconds:
            raise stalled()

    async def check_ready(self, batcher: Batcher) -> None:
        """Refuse when requests should go elsewhere.

        After a failed batch a blank face is tried, so readiness comes back by itself.

        Raises:
            RequestError: 503, the worker is leaving, or the network hangs or fails.
        """
        try:
            if self.draining:
                raise RequestError(503, "draining", "The server is shutting down.")
            if batcher.ended or batcher.running_seconds > batcher.stall_seconds:
                raise stalled()
            if batcher.failed:
                await self._try_network(batcher)
        except RequestError:
            metrics.READY.set(0)
            raise
        metrics.READY.set(1)

    async def _try_network(self, batcher: Batcher) -> None:
        blank = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        try:
            async with asyncio.timeout(batcher.stall_seconds):
                await batcher.submit(blank)
        except TimeoutError:
            raise stalled() from None
