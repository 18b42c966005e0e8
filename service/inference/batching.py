"""Images of many requests in one forward pass."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.errors import late, stalled, unavailable
from service.inference.forward import Predict
from service.log import LOG


class _Waiting(NamedTuple):
    """At most a batch of a request's faces; the next ones queue when these are answered.

    `since` is when they began to queue.
    """

    faces: NDArray[np.uint8]
    answer: "asyncio.Future[NDArray[np.float32]]"
    deadline: float
    following: "_Waiting | None"
    since: float = 0.0


class Batcher:
    """Gathers waiting faces into batches and runs one batch at a time in a thread.

    While a batch runs the next one gathers, so the queue itself makes large batches
    under load. A batch that could start waits for the images that are being decoded, which take
    the core anyway, `max_wait_ms` at most; a lone request waits for nothing. Requests of more
    than a batch take turns with the others, a batch each. What nobody waits for any more, its
    deadline past or its request cancelled, is not computed. When a batch fails, its requests are
    tried one by one, so that one poisons no other. How much may wait is for the callers to bound.

    Args:
        predict: (N, 48, 48) uint8 faces to (N, 7) float32 probabilities; blocking.
        max_batch_size: most faces in a batch.
        max_wait_ms: longest wait for faces on their way, in milliseconds.
        stall_seconds: longest forward pass before new work is refused.

    Attributes:
        failed: whether the network failed on the last batch.
    """

    def __init__(
        self, predict: Predict, *, max_batch_size: int, max_wait_ms: float, stall_seconds: float
    ) -> None:
        self.predict = predict
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait_ms / 1000
        self.stall_seconds = stall_seconds
        self.failed = False
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._coming = 0
        self._arrived = asyncio.Event()
        self._complete = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "predict")
        self._task: asyncio.Task[None] | None = None
        self._begun: float | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to serve; call inside the event loop."""
        # In a context of its own: that of a reload would give its request's id to all log lines.
        self._task = asyncio.create_task(self._run(), context=Context())

    async def stop(self, seconds: float = 30.0) -> None:
        """Take no more work, finish what waits, and leave after `seconds` at the latest."""
        self._stopping = True
        self._arrived.set()
        if self._task:
            await asyncio.wait({self._task}, timeout=seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._queue:
            _fail(self._queue.popleft(), unavailable("The server is shutting down."))
        self._thread.shutdown(wait=False)

    @property
    def running_seconds(self) -> float:
        """How long the forward pass under way has taken; 0 when there is none."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    @property
    def ended(self) -> bool:
        """Whether nothing is answered any more although nobody said so."""
        return self._task is not None and self._task.done() and not self._stopping

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Faces are on their way to `submit`; a batch waits for them a little."""
        self._coming += 1
        self._complete.clear()
        try:
            yield
        finally:
            self._coming -= 1
            if not self._coming:
                # Whoever comes here submits next, and the event is seen only after that.
                self._complete.set()

    async def submit(
        self, faces: NDArray[np.uint8], deadline: float = float("inf")
    ) -> NDArray[np.float32]:
        """Probabilities, float32 (M, 7), of the first M of uint8 faces (N, 48, 48).

        Args:
            faces: what to look at; one at least.
            deadline: until when to wait, on the clock of `time.monotonic`. M is below N only
                where it passed before all were looked at.

        Raises:
            RequestError: 503 when the network failed or hangs, the deadline passed before any
                was looked at, or the server shuts down.
        """
        self._check()
        loop, now = asyncio.get_running_loop(), time.monotonic()
        waiting: _Waiting | None = None
        for start in reversed(range(0, len(faces), self.max_batch_size)):
            part = faces[start : start + self.max_batch_size]
            waiting = _Waiting(part, loop.create_future(), deadline, waiting)
        self._enqueue(waiting)
        rows = []
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - now):
                while waiting:
                    rows.append(await waiting.answer)
                    waiting = waiting.following
        if not rows:
            raise late()
        return np.concatenate(rows)

    def _enqueue(self, waiting: _Waiting | None) -> None:
        if waiting:
            self._queue.append(waiting._replace(since=time.monotonic()))
            self._queued += len(waiting.faces)
            self._arrived.set()
            metrics.QUEUE_DEPTH.set(self._queued)

    def _check(self) -> None:
        if self._stopping:
            raise unavailable("The server is shutting down.")
        if self.running_seconds > self.stall_seconds:
            raise stalled()

    async def _run(self) -> None:
        while not (self._stopping and not self._queue):
            batch = await self._gather()
            if not batch:
                continue
            try:
                if not await self._compute(batch) and len(batch) > 1:
                    for waiting in batch:
                        if _is_wanted(waiting):
                            await self._compute([waiting])
            finally:
                for waiting in batch:
                    _fail(waiting, unavailable("The network failed; try again."))

    async def _compute(self, batch: list[_Waiting]) -> bool:
        """Answer a batch; False if the network failed on it."""
        self._begun = time.monotonic()
        try:
            faces = np.concatenate([waiting.faces for waiting in batch])
            metrics.BATCH_SIZE.observe(len(faces))
            rows = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._predict, faces
            )
            if rows.shape[:1] != faces.shape[:1] or not np.isfinite(rows).all():
                raise ArithmeticError(f"{rows.shape} rows for {len(faces)} faces, or not finite")
        except Exception:
            self.failed = True
            metrics.FAILURES.inc()
            LOG.exception("the network failed on %d requests", len(batch))
            return False
        finally:
            metrics.INFERENCE_SECONDS.observe(self.running_seconds)
            self._begun = None
        self.failed = False
        self._answer(batch, rows)
        return True

    def _answer(self, batch: list[_Waiting], rows: NDArray[np.float32]) -> None:
        start = 0
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_result(rows[start : start + len(waiting.faces)])
                self._enqueue(waiting.following)
            start += len(waiting.faces)

    def _predict(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = self.predict(faces)
        metrics.observe_inputs(faces)
        return rows

    async def _gather(self) -> list[_Waiting]:
        await self._arrived.wait()
        if self._coming and self.max_wait and self._queued < self.max_batch_size:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), self.max_wait)
        now = time.monotonic()
        batch, count = [], 0
        while self._queue and count + len(self._queue[0].faces) <= self.max_batch_size:
            waiting = self._queue.popleft()
            self._queued -= len(waiting.faces)
            if _is_wanted(waiting):
                batch.append(waiting)
                count += len(waiting.faces)
                metrics.QUEUE_SECONDS.observe(now - waiting.since)
        if not (self._queue or self._stopping):
            self._arrived.clear()
        metrics.QUEUE_DEPTH.set(self._queued)
        return batch


def _is_wanted(waiting: _Waiting) -> bool:
    """Whether somebody waits for it; ends the wait for what is late."""
    if waiting.deadline < time.monotonic():
        _fail(waiting, TimeoutError())
    return not waiting.answer.done()


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
