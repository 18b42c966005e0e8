"""The images of a request, decoded in threads."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.batching import late
from service.errors import RequestError
from service.faces import Box, cut_face, find_faces
from service.images import decode_face, decode_picture


@dataclass(frozen=True)
class Seen:
    """What an image shows.

    Attributes:
        faces: uint8, shape (K, 48, 48).
        pixels: width x height of the image.
        boxes: where the faces are, in the file's pixels; None where the image is a face.
    """

    faces: NDArray[np.uint8]
    pixels: int
    boxes: tuple[Box, ...] | None = None


See = Callable[[bytes, int, float], Seen]


def see_crop(content: bytes, max_pixels: int, deadline: float) -> Seen:
    """The image as one face; arguments and errors as of `images.decode_face`."""
    face, pixels = decode_face(content, max_pixels, deadline)
    return Seen(face[None], pixels)


def see_photo(content: bytes, max_pixels: int, deadline: float) -> Seen:
    """The faces in the image; errors also as of `faces.find_faces`."""
    picture, scale, pixels = decode_picture(content, max_pixels, deadline)
    found = find_faces(picture)
    faces = np.stack([cut_face(picture, box) for box in found])
    boxes = (
        replace(
            box,
            left=round(box.left / scale),
            top=round(box.top / scale),
            side=max(1, round(box.side / scale)),
        )
        for box in found
    )
    return Seen(faces, pixels, tuple(boxes))


class Decoder:
    """Decodes one request's images after another in each thread.

    Args:
        threads: decoding at once; with large images taking turns, this bounds memory.
        max_pixels: largest width x height of an image.
        max_request_pixels: largest sum of width x height in a request.
    """

    def __init__(self, threads: int, max_pixels: int, max_request_pixels: int) -> None:
        self.max_pixels, self.max_request_pixels = max_pixels, max_request_pixels
        self._threads = ThreadPoolExecutor(threads, "decode")

    async def decode(
        self, contents: list[bytes], deadline: float, see: See = see_crop
    ) -> list[Seen | RequestError]:
        """What each image shows, or the error.

        Args:
            contents: encoded images.
            deadline: when to give up, on the clock of `time.monotonic`.
            see: how to look at an image.

        Raises:
            RequestError: 413, the images together have too many pixels; 501, no detector;
                503, the deadline passed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decode, contents, deadline, see)

    def stop(self) -> None:
        """Let the threads end; what still waits is not decoded."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _decode(
        self, contents: list[bytes], deadline: float, see: See
    ) -> list[Seen | RequestError]:
        begun, total = time.perf_counter(), 0
        results: list[Seen | RequestError] = []
        for content in contents:
            if time.monotonic() > deadline:
                raise late()
            try:
                seen = see(content, self.max_pixels, deadline)
            except RequestError as error:
                if error.status > 500:
                    raise
                results.append(error)
                continue
            total += seen.pixels
            if total > self.max_request_pixels:
                text = f"The images together are over {self.max_request_pixels} pixels."
                raise RequestError(413, "too_many_pixels", text)
            metrics.PIXELS.observe(seen.pixels)
            results.append(seen)
        metrics.DECODE_SECONDS.observe(time.perf_counter() - begun)
        return results
