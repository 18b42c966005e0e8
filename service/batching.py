"""Images of many requests in one forward pass."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.errors import RequestError

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class _Waiting(NamedTuple):
    faces: NDArray[np.uint8]
    answer: "asyncio.Future[NDArray[np.float32]]"


class Batcher:
    """Gathers waiting faces into batches and runs one batch at a time in a thread.

    While a batch runs the next one gathers, so the queue itself makes large batches
    under load; `max_wait_ms` only delays a batch that could start at once.

    Args:
        predict: (N, 48, 48) uint8 faces to (N, 7) float32 probabilities; blocking.
        max_batch_size: most faces in a batch.
        max_wait_ms: longest wait for more faces, in milliseconds.
        max_queue: most faces waiting.
    """

    def __init__(
        self, predict: Predict, *, max_batch_size: int, max_wait_ms: float, max_queue: int
    ) -> None:
        self.predict = predict
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait_ms / 1000
        self.max_queue = max_queue
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predict")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve; call inside the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop after the batch in flight; what still waits gets an error."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                waiting.answer.set_exception(_unavailable("The server is shutting down."))
        self._thread.shutdown()

    async def submit(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, 7), of uint8 faces (N, 48, 48).

        Raises:
            RequestError: 503 when the queue is full or the network failed.
        """
        if self._queued + len(faces) > self.max_queue:
            raise _unavailable(f"{self._queued} images are waiting already.")
        loop = asyncio.get_running_loop()
        answers = []
        for start in range(0, len(faces), self.max_batch_size):
            part = faces[start : start + self.max_batch_size]
            answers.append(loop.create_future())
            self._queue.append(_Waiting(part, answers[-1]))
            self._queued += len(part)
        self._arrived.set()
        metrics.QUEUE_DEPTH.set(self._queued)
        return np.concatenate(await asyncio.gather(*answers))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:
                continue
            faces = np.concatenate([waiting.faces for waiting in batch])
            metrics.BATCH_SIZE.observe(len(faces))
            try:
                with metrics.INFERENCE_SECONDS.time():
                    rows = await loop.run_in_executor(self._thread, self.predict, faces)
            except Exception:
                metrics.LOG.exception("the network failed on a batch of %d", len(faces))
                self._fail(batch)
                continue
            self._answer(batch, rows)

    async def _gather(self) -> list[_Waiting]:
        await self._arrived.wait()
        if self.max_wait and self._queued < self.max_batch_size:
            await asyncio.sleep(self.max_wait)
        batch, count = [], 0
        while self._queue and count + len(self._queue[0].faces) <= self.max_batch_size:
            waiting = self._queue.popleft()
            self._queued -= len(waiting.faces)
            if not waiting.answer.done():
                batch.append(waiting)
                count += len(waiting.faces)
        if not self._queue:
            self._arrived.clear()
        metrics.QUEUE_DEPTH.set(self._queued)
        return batch

    @staticmethod
    def _answer(batch: list[_Waiting], rows: NDArray[np.float32]) -> None:
        start = 0
        for faces, answer in batch:
            if not answer.done():
                answer.set_result(rows[start : start + len(faces)])
            start += len(faces)

    @staticmethod
    def _fail(batch: list[_Waiting]) -> None:
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(_unavailable("The network failed; try again."))


def _unavailable(message: str) -> RequestError:
    return RequestError(503, "unavailable", message)
