import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from service.errors import RequestError
from service.inference.batching import Batcher
from service.inference.forward import Predict
from service.log import LOG, REQUEST_ID
from service.server.health import Health


class Echo:
    """Answers each face with its first pixel and notes the batches."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(faces))
        time.sleep(self.seconds)
        return np.repeat(faces[:, 0, :1].astype(np.float32), 7, 1)


def faces_of(*values: int) -> NDArray[np.uint8]:
    return np.stack([np.full((48, 48), value, np.uint8) for value in values])


def serve(
    predict: Predict,
    work: Callable[[Batcher], Awaitable[None]],
    wait_ms: float = 0,
) -> None:
    async def run() -> None:
        batcher = Batcher(predict, max_batch_size=8, max_wait_ms=wait_ms, stall_seconds=0.1)
        batcher.start()
        try:
            await work(batcher)
        finally:
            await batcher.stop()

    asyncio.run(asyncio.wait_for(run(), 10))


def test_requests_share_batches_and_get_their_own_rows() -> None:
    echo = Echo()

    async def work(batcher: Batcher) -> None:
        answers = await asyncio.gather(*(batcher.submit(faces_of(i, i + 1)) for i in range(20)))
        for i, rows in enumerate(answers):
            assert rows[:, 0].tolist() == [i, i + 1]

    serve(echo, work)
    assert len(echo.batches) <= 6
    assert max(echo.batches) == 8


async def decode_and_submit(batcher: Batcher, seconds: float, value: int) -> None:
    with batcher.coming():
        await asyncio.sleep(seconds)
    assert (await batcher.submit(faces_of(value)))[0, 0] == value


def test_a_batch_waits_for_what_is_being_decoded_and_for_nothing_else() -> None:
    echo = Echo()

    async def work(batcher: Batcher) -> None:
        begun = time.monotonic()
        await decode_and_submit(batcher, 0, 1)
        assert time.monotonic() - begun < 0.4
        await asyncio.gather(*(decode_and_submit(batcher, 0.05 * i, i) for i in range(3)))
        # The wait ends with it, and whatever was refused on its way.
        with pytest.raises(KeyError), batcher.coming():
            raise KeyError
        await decode_and_submit(batcher, 0, 2)
        assert time.monotonic() - begun < 0.8

    serve(echo, work, wait_ms=500)
    assert echo.batches == [1, 3, 1]


def test_a_batch_waits_no_longer_than_it_may() -> None:
    echo = Echo()

    async def work(batcher: Batcher) -> None:
        await asyncio.gather(*(decode_and_submit(batcher, 0.3 * i, i) for i in range(2)))

    serve(echo, work, wait_ms=20)
    assert echo.batches == [1, 1]


def test_a_large_request_is_split() -> None:
    echo = Echo()

    async def work(batcher: Batcher) -> None:
        rows = await batcher.submit(faces_of(*range(30)))
        assert rows[:, 0].tolist() == list(range(30))

    serve(echo, work)
    assert echo.batches == [8, 8, 8, 6]


def test_a_failure_is_told_and_the_next_batch_runs() -> None:
    def fail_on_zero(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not faces.any():
            raise RuntimeError("out of order")
        return np.ones((len(faces), 7), np.float32)

    async def work(batcher: Batcher) -> None:
        with pytest.raises(RequestError, match="failed"):
            await batcher.submit(faces_of(0))
        assert (await batcher.submit(faces_of(1))).shape == (1, 7)

    serve(fail_on_zero, work)


def test_a_failure_is_not_logged_as_of_the_request_that_began_the_batches() -> None:
    seen = []

    def fail(_: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("out of order")

    class Note(logging.Filter):
        def filter(self, _: logging.LogRecord) -> bool:
            seen.append(REQUEST_ID.get(None))
            return True

    async def work(batcher: Batcher) -> None:
        with pytest.raises(RequestError, match="failed"):
            await batcher.submit(faces_of(0))

    note = Note()
    LOG.addFilter(note)
    token = REQUEST_ID.set("the-reload")
    try:
        serve(fail, work)
    finally:
        REQUEST_ID.reset(token)
        LOG.removeFilter(note)
    assert seen and "the-reload" not in seen


def test_a_cancelled_request_is_not_computed() -> None:
    echo = Echo(0.05)

    async def work(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(faces_of(1)))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batcher.submit(faces_of(2, 3)))
        await asyncio.sleep(0)
        gone.cancel()
        await first
        await batcher.submit(faces_of(4))

    serve(echo, work)
    assert echo.batches == [1, 1]


def test_a_poisonous_request_harms_no_neighbour() -> None:
    def fail_on_nine(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        if (faces == 9).any():
            raise RuntimeError("out of order")
        return np.repeat(faces[:, 0, :1].astype(np.float32), 7, 1)

    async def work(batcher: Batcher) -> None:
        submits = (batcher.submit(faces_of(value)) for value in (1, 9, 2, 3))
        one, nine, two, three = await asyncio.gather(*submits, return_exceptions=True)
        assert isinstance(nine, RequestError)
        for value, rows in ((1, one), (2, two), (3, three)):
            assert isinstance(rows, np.ndarray)
            assert rows[0, 0] == value
        assert not batcher.failed

    serve(fail_on_nine, work)


@pytest.mark.parametrize("rows", [np.ones((0, 7)), np.full((1, 7), np.nan)])
def test_rows_that_are_no_answer_are_a_failure(rows: NDArray[np.float32]) -> None:
    async def work(batcher: Batcher) -> None:
        with pytest.raises(RequestError, match="failed"):
            await batcher.submit(faces_of(1))
        assert batcher.failed

    serve(lambda faces: rows, work)


def test_what_is_late_is_not_computed() -> None:
    echo = Echo(0.05)

    async def work(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(faces_of(1)))
        await asyncio.sleep(0.01)
        with pytest.raises(RequestError) as caught:
            await batcher.submit(faces_of(2, 3), time.monotonic() + 0.01)
        assert caught.value.code == "deadline_exceeded"
        await first
        await batcher.submit(faces_of(4))

    serve(echo, work)
    assert echo.batches == [1, 1]


def test_a_large_request_gives_what_was_computed_in_time() -> None:
    echo = Echo(0.1)

    async def work(batcher: Batcher) -> None:
        rows = await batcher.submit(faces_of(*range(30)), time.monotonic() + 0.25)
        assert rows[:, 0].tolist() == list(range(16))

    serve(echo, work)
    assert echo.batches == [8, 8, 8]


def test_a_face_does_not_wait_for_all_of_anothers() -> None:
    echo = Echo(0.02)

    async def work(batcher: Batcher) -> None:
        many = asyncio.create_task(batcher.submit(faces_of(*range(80))))
        await asyncio.sleep(0.03)
        assert (await batcher.submit(faces_of(99)))[0, 0] == 99
        assert not many.done()
        assert (await many)[:, 0].tolist() == list(range(80))

    serve(echo, work)
    assert 1 in echo.batches[:4]


def test_after_a_failed_batch_only_what_is_waited_for_is_tried_again() -> None:
    batches = []

    def fail_together(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches.append(faces[:, 0, 0].tolist())
        time.sleep(0.1)
        if len(faces) > 1:
            raise RuntimeError("out of order")
        return np.repeat(faces[:, 0, :1].astype(np.float32), 7, 1)

    async def work(batcher: Batcher) -> None:
        stays, gone = (asyncio.create_task(batcher.submit(faces_of(value))) for value in (1, 2))
        late = asyncio.create_task(batcher.submit(faces_of(3), time.monotonic() + 0.15))
        await asyncio.sleep(0.05)
        gone.cancel()
        assert (await stays)[0, 0] == 1
        with pytest.raises(RequestError) as caught:
            await late
        assert caught.value.code == "deadline_exceeded"
        await batcher.submit(faces_of(4))

    serve(fail_together, work)
    assert batches == [[1, 2, 3], [1], [4]]


def test_stop_finishes_what_was_accepted_and_takes_no_more() -> None:
    async def work(batcher: Batcher) -> None:
        waiting = [asyncio.create_task(batcher.submit(faces_of(*range(20)))) for _ in range(3)]
        await asyncio.sleep(0.01)
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="shutting down"):
            await batcher.submit(faces_of(1))
        await stopping
        assert all(task.done() and task.result().shape == (20, 7) for task in waiting)

    serve(Echo(0.03), work)


def test_a_hung_network_refuses_new_work_and_lets_stop_return() -> None:
    release = threading.Event()

    def hang(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        release.wait(5)
        return np.ones((len(faces), 7), np.float32)

    async def work(batcher: Batcher) -> None:
        hung = asyncio.create_task(batcher.submit(faces_of(1)))
        await asyncio.sleep(0.15)
        with pytest.raises(RequestError, match="hangs"):
            await batcher.submit(faces_of(2))
        begun = time.monotonic()
        await batcher.stop(0.05)
        assert time.monotonic() - begun < 0.5
        with pytest.raises(RequestError, match="failed"):
            await hung
        release.set()

    serve(hang, work)


def test_a_lone_large_request_does_not_queue() -> None:
    def waited() -> float:
        return REGISTRY.get_sample_value("emotion_queue_seconds_sum") or 0.0

    async def work(batcher: Batcher) -> None:
        await batcher.submit(faces_of(*range(32)))

    before = waited()
    serve(Echo(seconds=0.2), work)
    assert waited() - before < 0.1


def test_a_worker_that_computes_no_more_is_not_alive() -> None:
    async def work(batcher: Batcher) -> None:
        health = Health()
        health.check_live(batcher)
        assert batcher._task
        batcher._task.cancel()
        await asyncio.wait({batcher._task})
        with pytest.raises(RequestError, match="hangs"):
            health.check_live(batcher)
        with pytest.raises(RequestError, match="hangs"):
            await health.check_ready(batcher)

    serve(Echo(), work)
