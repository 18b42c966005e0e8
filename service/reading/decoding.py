"""The images of a request, decoded in threads."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.errors import RequestError, late
from service.reading.faces import MAX_FACES, Box, cut_face, cut_views, find_faces, is_cropped
from service.reading.images import Limits, NotQuickError, decode_face, decode_picture

QUICK_PIXELS: Final = 1_000_000
"""Most in a crop that is decoded beside the faces; 5 ms as JPEG, 40 ms as WebP."""

QUICK_BYTES: Final = 256 * 1024
"""Largest file of such a crop that is a JPEG, whose header Pillow may read byte by byte: 2 s a
megabyte."""

TURN: Final = 0.02
"""Seconds of a request's images at once; then those of others have their turn."""

_PATIENT: Final = 2
"""Threads for large images, for each of the crops'. With one, photos that crops pass by wait for
each other (`benchmarks.serve`, photos); with more, crops get a smaller share of the cores."""


@dataclass(frozen=True)
class Seen:
    """What an image shows.

    Attributes:
        views: uint8, shape (K, V, 48, 48): V cuts of each of K faces, whose answers are averaged;
            the first is the face as its box is.
        pixels: width x height of the image.
        boxes: where the faces are, in the file's pixels; None where the image is a face.
        left_out: how many more faces were found, smaller than these.
    """

    views: NDArray[np.uint8]
    pixels: int
    boxes: tuple[Box, ...] | None = None
    left_out: int = 0


See = Callable[[bytes, Limits, float], Seen]


def see_crop(content: bytes, limits: Limits, deadline: float) -> Seen:
    """The image as one face; arguments and errors as of `images.decode_face`."""
    face, pixels = decode_face(content, limits, deadline)
    return Seen(face[None, None], pixels)


def see_photo(content: bytes, limits: Limits, deadline: float) -> Seen:
    """The faces in the image, which is never quick; errors also as of `faces.find_faces`."""
    if limits.quick_pixels is not None:
        raise NotQuickError
    picture, scale, pixels = decode_picture(content, limits, deadline)
    every = find_faces(picture)
    found = every[:MAX_FACES]
    grey = np.asarray(picture.convert("L"))
    alone = is_cropped(picture)
    views = [cut_face(grey, box)[None] if alone else cut_views(grey, box) for box in found]
    boxes = (
        replace(
            box,
            left=round(box.left / scale),
            top=round(box.top / scale),
            side=max(1, round(box.side / scale)),
        )
        for box in found
    )
    return Seen(np.stack(views), pixels, tuple(boxes), len(every) - len(found))


@dataclass
class _Work:
    """A request's images, what became of the first of them, and the seconds that it took."""

    contents: list[bytes]
    deadline: float
    see: See
    results: list[Seen | RequestError] = field(default_factory=list)
    pixels: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    waits_since: float | None = None
    wanted: bool = True

    def wait(self) -> None:
        """It begins to wait for a thread."""
        self.waits_since = time.perf_counter()

    def end_wait(self) -> None:
        """A thread took it, or nobody wants it any more."""
        # Taken in one step, since the event loop and a thread may both come here.
        since, self.waits_since = self.waits_since, None
        if since is not None:
            self.waited += time.perf_counter() - since


class Decoder:
    """Decodes one request's images after another in each thread.

    Crops of at most `QUICK_PIXELS`, JPEGs besides of `QUICK_BYTES`, have threads of their own, so
    that no face waits for a photo. Requests share the threads in turns, so that none waits for
    another's hundreds. With large images decoded one at a time, the number of threads bounds
    memory.

    Args:
        threads: for crops; large images have twice as many.
        limits: what is decoded.
        max_request_pixels: largest sum of width x height in a request.
    """

    def __init__(self, threads: int, limits: Limits, max_request_pixels: int) -> None:
        self.limits, self.max_request_pixels = limits, max_request_pixels
        self._quick = ThreadPoolExecutor(threads, "decode")
        self._patient = ThreadPoolExecutor(_PATIENT * threads, "decode large")

    async def decode(
        self,
        contents: list[bytes],
        deadline: float,
        see: See = see_crop,
        coming: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> list[Seen | RequestError]:
        """What each image shows, or the error, which is 503 where it was not decoded in time.

        Args:
            contents: encoded images.
            deadline: until when to wait, on the clock of `time.monotonic`; what is being decoded
                then is left to its thread.
            see: how to look at an image.
            coming: entered for as long as it will not take long.

        Raises:
            RequestError: 413, the images together have too many pixels; 501, no detector;
                503, the deadline passed before any was decoded.
        """
        work = _Work(contents, deadline, see)
        quick = replace(self.limits, quick_pixels=QUICK_PIXELS, quick_bytes=QUICK_BYTES)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    with coming():
                        await self._take_turns(self._quick, work, quick)
                    if len(work.results) < len(contents):
                        await self._take_turns(self._patient, work, self.limits)
        finally:
            work.wanted = False
            work.end_wait()
            metrics.DECODE_WAIT_SECONDS.observe(work.waited)
        metrics.DECODE_SECONDS.observe(work.seconds)
        results = list(work.results)
        if not any(isinstance(item, Seen) or item.status < 500 for item in results):
            raise late()
        return results + [late() for _ in contents[len(results) :]]

    def stop(self) -> None:
        """Let the threads end; what still waits is not decoded."""
        for threads in (self._quick, self._patient):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _take_turns(self, threads: ThreadPoolExecutor, work: _Work, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        more = True
        while more:
            work.wait()
            more = await loop.run_in_executor(threads, self._decode, work, limits)

    def _decode(self, work: _Work, limits: Limits) -> bool:
        """Add to the results, up to the first image that is not quick enough.

        Returns:
            Whether there is more to do after a turn.
        """
        work.end_wait()
        begun = time.perf_counter()
        more = False
        with suppress(NotQuickError):
            for content in work.contents[len(work.results) :]:
                more = time.perf_counter() - begun > TURN
                if more or not work.wanted:
                    break
                work.results.append(self._see(content, work, limits))
        work.seconds += time.perf_counter() - begun
        return more

    def _see(self, content: bytes, work: _Work, limits: Limits) -> Seen | RequestError:
        try:
            seen = work.see(content, limits, work.deadline)
        except RequestError as error:
            if error.status == 501:
                raise
            return error
        work.pixels += seen.pixels
        if work.pixels > self.max_request_pixels:
            text = f"The images together are over {self.max_request_pixels} pixels."
            raise RequestError(413, "too_many_pixels", text)
        metrics.PIXELS.observe(seen.pixels)
        return seen
