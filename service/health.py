"""Whether a worker is alive, and whether it should get requests."""

import time
from typing import Final

import numpy as np

from service import metrics
from service.batching import Batcher
from service.errors import RequestError
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
            RequestError: 503, a forward pass has hung for three times the stall limit.
        """
        if batcher.running_seconds > PATIENCE * batcher.stall_seconds:
            raise RequestError(503, "stalled", "The network hangs.")

    async def check_ready(self, batcher: Batcher) -> None:
        """Refuse when requests should go elsewhere.

        After a failed batch a blank face is tried, so readiness comes back by itself.

        Raises:
            RequestError: 503, the worker is leaving, or the network hangs or fails.
        """
        try:
            if self.draining:
                raise RequestError(503, "draining", "The server is shutting down.")
            if batcher.running_seconds > batcher.stall_seconds:
                raise RequestError(503, "stalled", "The network hangs.")
            if batcher.failed:
                blank = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
                await batcher.submit(blank, time.monotonic() + batcher.stall_seconds)
        except RequestError:
            metrics.READY.set(0)
            raise
        metrics.READY.set(1)
