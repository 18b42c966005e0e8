"""Small crops are not kept waiting by large images."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from service.errors import RequestError
from service.reading import decoding
from service.reading.decoding import QUICK_PIXELS, Decoder, Seen, see_crop, see_photo
from service.reading.images import Limits
from tests.conftest import encode, make_faces

FACE = encode(make_faces(1).images[0])
LARGE = encode(Image.new("L", (QUICK_PIXELS // 1000 + 1, 1000), 9))
LIMITS = Limits(pixels=10**7, whole_pixels=10**7)
FOREVER = float("inf")


def decode(*contents: bytes) -> list[Seen | RequestError]:
    decoder = Decoder(1, LIMITS, 10**8)
    try:
        return asyncio.run(decoder.decode(list(contents), FOREVER))
    finally:
        decoder.stop()


def test_results_keep_the_order_of_the_images() -> None:
    first, large, broken, last = decode(FACE, LARGE, LARGE[:-60], FACE)
    assert isinstance(first, Seen)
    assert isinstance(large, Seen)
    assert isinstance(broken, RequestError)
    assert isinstance(last, Seen)
    assert (large.views == 9).all()
    assert large.pixels > QUICK_PIXELS
    np.testing.assert_array_equal(first.views, last.views)


@pytest.mark.parametrize("kind", ["large", "photo"])
def test_a_face_does_not_wait_for_a_large_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def wait(content: bytes, limits: Limits, deadline: float) -> tuple[Image.Image, float, int]:
        release.wait(10)
        raise RequestError(422, "no_face", "")

    monkeypatch.setattr(decoding, "decode_picture", wait)

    def see_slowly(content: bytes, limits: Limits, deadline: float) -> Seen:
        seen = see_crop(content, limits, deadline)
        release.wait(10)
        return seen

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        see = see_slowly if kind == "large" else see_photo
        slow = [asyncio.create_task(decoder.decode([LARGE], FOREVER, see)) for _ in range(3)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        (seen,) = await decoder.decode([FACE], FOREVER)
        assert isinstance(seen, Seen)
        assert time.monotonic() - begun < 1
        assert not any(task.done() for task in slow)
        release.set()
        await asyncio.gather(*slow)
        decoder.stop()

    asyncio.run(work())


def test_only_quick_images_are_waited_for() -> None:
    coming = []

    @contextmanager
    def note() -> Iterator[None]:
        coming.append(1)
        yield
        coming.append(-1)

    def see(content: bytes, limits: Limits, deadline: float) -> Seen:
        coming.append(0 if limits.quick_pixels is None else 7)
        return see_crop(content, limits, deadline)

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        await decoder.decode([FACE, LARGE], FOREVER, see, note)
        decoder.stop()

    asyncio.run(work())
    assert coming == [1, 7, 7, -1, 0]


def see_slowly(content: bytes, limits: Limits, deadline: float) -> Seen:
    time.sleep(0.03)
    return see_crop(content, limits, deadline)


def test_a_face_does_not_wait_for_all_of_anothers_crops() -> None:
    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        many = asyncio.create_task(decoder.decode([FACE] * 60, FOREVER, see_slowly))
        await asyncio.sleep(0.1)
        await decoder.decode([FACE], FOREVER)
        assert not many.done()
        assert len(await many) == 60
        decoder.stop()

    asyncio.run(work())


def test_a_photo_does_not_wait_for_all_of_anothers_photos() -> None:
    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**9)
        many = [
            asyncio.create_task(decoder.decode([LARGE] * 60, FOREVER, see_slowly)) for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        await decoder.decode([LARGE], FOREVER)
        assert not any(task.done() for task in many)
        decoder.stop()
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    asyncio.run(work())


def test_what_nobody_waits_for_is_not_decoded() -> None:
    seen = []

    def note(content: bytes, limits: Limits, deadline: float) -> Seen:
        seen.append(content)
        return see_slowly(content, limits, deadline)

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        for images in ([FACE] * 60, [LARGE] * 60):
            seen.clear()
            task = asyncio.create_task(decoder.decode(images, FOREVER, note))
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.sleep(0.3)
            before = len(seen)
            await asyncio.sleep(0.3)
            assert 0 < len(seen) == before < 60
        decoder.stop()

    asyncio.run(work())


def test_late_images_do_not_take_the_others_with_them() -> None:
    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        soon = time.monotonic() + 0.1
        results = await decoder.decode([FACE] * 60, soon, see_slowly)
        assert isinstance(results[0], Seen)
        assert len(results) == 60
        last = results[-1]
        assert isinstance(last, RequestError) and last.code == "deadline_exceeded"
        with pytest.raises(RequestError) as caught:
            await decoder.decode([FACE] * 2, time.monotonic() - 1)
        assert caught.value.status == 503
        decoder.stop()

    asyncio.run(work())


def test_an_image_that_takes_long_is_told_as_late_when_the_time_is_over() -> None:
    release = threading.Event()

    def see_forever(content: bytes, limits: Limits, deadline: float) -> Seen:
        if content != FACE:
            release.wait(10)
        return see_crop(content, limits, deadline)

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        begun = time.monotonic()
        results = await decoder.decode([FACE, LARGE, FACE], begun + 0.3, see_forever)
        assert time.monotonic() - begun < 2
        assert [type(item) for item in results] == [Seen, RequestError, RequestError]
        release.set()
        decoder.stop()

    asyncio.run(work())


def read_waits() -> tuple[float, float]:
    """How many requests have waited for a thread, and how long together."""
    count, total = (
        REGISTRY.get_sample_value(f"emotion_decode_wait_seconds_{part}")
        for part in ("count", "sum")
    )
    return count or 0.0, total or 0.0


@pytest.mark.parametrize(
    ("image", "expected"), [(FACE, 0.1 + 0.2 + 0.3), (LARGE, 0.1 + 0.1)], ids=["crop", "large"]
)
def test_the_wait_for_a_thread_is_measured(image: bytes, expected: float) -> None:
    def see(content: bytes, limits: Limits, deadline: float) -> Seen:
        seen = see_crop(content, limits, deadline)
        time.sleep(0.1)
        return seen

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        await asyncio.gather(*(decoder.decode([image], FOREVER, see) for _ in range(4)))
        decoder.stop()

    count, total = read_waits()
    asyncio.run(work())
    after, waited = read_waits()
    assert after - count == 4
    assert waited - total == pytest.approx(expected, abs=0.15)


def test_who_waits_in_vain_has_waited() -> None:
    release = threading.Event()

    def hold(content: bytes, limits: Limits, deadline: float) -> Seen:
        release.wait(10)
        return see_crop(content, limits, deadline)

    async def work() -> None:
        decoder = Decoder(1, LIMITS, 10**8)
        first = asyncio.create_task(decoder.decode([FACE], FOREVER, hold))
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError):
            await decoder.decode([FACE], time.monotonic() + 0.3)
        release.set()
        await first
        decoder.stop()

    count, total = read_waits()
    asyncio.run(work())
    after, waited = read_waits()
    assert after - count == 2
    assert waited - total == pytest.approx(0.3, abs=0.15)
