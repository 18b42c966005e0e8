"""The images of a request, decoded in threads."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from service import metrics
from service.batching import late
from service.errors import RequestError
from service.images import decode_face

Decoded = NDArray[np.uint8] | RequestError


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

    async def decode(self, contents: list[bytes], deadline: float) -> list[Decoded]:
        """A uint8 (48, 48) face, or the error, for each image.

        Args:
            contents: encoded images.
            deadline: when to give up, on the clock of `time.monotonic`.

        Raises:
            RequestError: 413, the images together have too many pixels; 503, the
                deadline passed.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._decode, contents, deadline)

    def stop(self) -> None:
        """Let the threads end; what still waits is not decoded."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _decode(self, contents: list[bytes], deadline: float) -> list[Decoded]:
        begun, total = time.perf_counter(), 0
        results: list[Decoded] = []
        for content in contents:
            if time.monotonic() > deadline:
                raise late()
            try:
                face, pixels = decode_face(content, self.max_pixels, deadline)
            except RequestError as error:
                if error.status == 503:
                    raise
                results.append(error)
                continue
            total += pixels
            if total > self.max_request_pixels:
                text = f"The images together are over {self.max_request_pixels} pixels."
                raise RequestError(413, "too_many_pixels", text)
            metrics.PIXELS.observe(pixels)
            results.append(face)
        metrics.DECODE_SECONDS.observe(time.perf_counter() - begun)
        return results
