"""The clients, blocking and asynchronous."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from time import sleep
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from facial_emotion_client.exchange import Talk, ask_group, ask_model, ask_one, ask_reason
from facial_emotion_client.groups import MAX_BYTES, Image, make_groups, read_image
from facial_emotion_client.proxies import telling_proxies
from facial_emotion_client.results import Faces, Prediction, Result
from facial_emotion_client.retry import DEFAULT, Call, Outcome, Retry

T = TypeVar("T")


class EmotionClient:
    """Asks a running service; a context manager that keeps its connections open.

    Args:
        url: the service's address, with http:// or https://.
        key: the API key, where the service wants one.
        timeout: longest wait for a connection, and for each part of an answer, seconds.
        retry: when to ask again.
        max_bytes: largest request; the service's `EMOTION_MAX_BODY_BYTES`.
        transport: how httpx sends; None for the network.

    Raises:
        ValueError: the address, the key or a proxy in the environment cannot be one, or the
            proxy needs a package that is not installed.
    """

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retry: Retry = DEFAULT,
        max_bytes: int = MAX_BYTES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.retry, self.max_bytes = retry, max_bytes
        options = _options(url, key)
        with telling_proxies():
            self._http = httpx.Client(**options, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def model(self) -> str:
        """The name:version of the model that answers.

        Raises:
            EmotionError: there was no such answer.
        """
        return self._run(ask_model(self.retry))

    def predict(self, image: Image) -> Prediction:
        """The expression in an image of one face.

        Raises:
            EmotionError: the service refused it or gave no answer.
            OSError: the file cannot be read.
            TypeError: the image is neither bytes nor a path.
        """
        return self._run(ask_one(read_image(image), False, self.retry))[0]

    def predict_faces(self, image: Image) -> Faces:
        """The expression of each face in a photo, with its box, the largest first.

        Raises:
            EmotionError: as `predict`; code `no_face` where there is none.
            OSError: as `predict`.
            TypeError: as `predict`.
        """
        return self._run(ask_one(read_image(image), True, self.retry))

    def explain(
        self, image: Image, *, label: str | None = None, face: int = 0, faces: bool = False
    ) -> bytes:
        """A face as PNG, with what led to a label in red.

        Args:
            image: one face, or a photo.
            label: None for the likeliest.
            face: which one of a photo, by `predict_faces`.
            faces: whether faces are to be found in it; else the image is one face.

        Raises:
            EmotionError: as `predict`; code `no_face` where there is none, `invalid_option`
                where there is no such label or face.
            OSError: as `predict`.
            TypeError: as `predict`.
        """
        return self._run(ask_reason(read_image(image), label, face, faces, self.retry))

    def predict_many(
        self, images: Iterable[Image], *, faces: bool = False, group_size: int = 32
    ) -> Iterator[Result]:
        """One result for each image, in order, as the answers come.

        Args:
            images: read as needed, so there may be more than fit into memory.
            faces: whether faces are to be found in each; else each image is one face.
            group_size: most images in one request; a request that is too large for the
                service is halved.

        Raises:
            EmotionError: the service refused a whole request or gave no answer.
            TypeError: an image is neither bytes nor a path.
            ValueError: `group_size` is not positive.
        """
        for group in make_groups(images, group_size, self.max_bytes):
            yield from self._run(ask_group(group, faces, self.retry))

    def _run(self, talk: Talk[T]) -> T:
        try:
            call = next(talk)
            while True:
                call = talk.send(self._make(call))
        except StopIteration as end:
            result: T = end.value
            return result

    def _make(self, call: Call) -> Outcome:
        if call.delay:
            sleep(call.delay)
        try:
            return self._http.request(call.method, call.path, files=call.files or None)
        except httpx.HTTPError as error:
            return error


class AsyncEmotionClient:
    """`EmotionClient` for asyncio: same arguments, same errors, several requests at once."""

    def __init__(
        self,
        url: str = "http://localhost:3000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retry: Retry = DEFAULT,
        max_bytes: int = MAX_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.retry, self.max_bytes = retry, max_bytes
        options = _options(url, key)
        with telling_proxies():
            self._http = httpx.AsyncClient(**options, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, *_: type[BaseException] | BaseException | TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def model(self) -> str:
        """As `EmotionClient.model`."""
        return await self._run(ask_model(self.retry))

    async def predict(self, image: Image) -> Prediction:
        """As `EmotionClient.predict`."""
        content = await asyncio.to_thread(read_image, image)
        return (await self._run(ask_one(content, False, self.retry)))[0]

    async def predict_faces(self, image: Image) -> Faces:
        """As `EmotionClient.predict_faces`."""
        content = await asyncio.to_thread(read_image, image)
        return await self._run(ask_one(content, True, self.retry))

    async def explain(
        self, image: Image, *, label: str | None = None, face: int = 0, faces: bool = False
    ) -> bytes:
        """As `EmotionClient.explain`."""
        content = await asyncio.to_thread(read_image, image)
        return await self._run(ask_reason(content, label, face, faces, self.retry))

    async def predict_many(
        self,
        images: Iterable[Image],
        *,
        faces: bool = False,
        group_size: int = 32,
        parallel: int = 4,
    ) -> AsyncGenerator[Result]:
        """As `EmotionClient.predict_many`, with at most `parallel` requests at once."""
        if parallel < 1:
            raise ValueError(f"parallel is {parallel}, not positive")
        groups = make_groups(images, group_size, self.max_bytes)
        asked: deque[asyncio.Task[list[Result]]] = deque()
        try:
            while True:
                while len(asked) < parallel and (
                    group := await asyncio.to_thread(next, groups, None)
                ):
                    talk = ask_group(group, faces, self.retry)
                    asked.append(asyncio.create_task(self._run(talk)))
                if not asked:
                    return
                for result in await asked[0]:
                    yield result
                asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _run(self, talk: Talk[T]) -> T:
        try:
            call = next(talk)
            while True:
                call = talk.send(await self._make(call))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _make(self, call: Call) -> Outcome:
        if call.delay:
            await asyncio.sleep(call.delay)
        try:
            return await self._http.request(call.method, call.path, files=call.files or None)
        except httpx.HTTPError as error:
            return error


def _options(url: str, key: str | None) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the address {url!r} does not start with http:// or https://")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ValueError("the key has characters that no key may have")
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"the address {url!r} is not one: {error}") from None
    return {"base_url": base, "headers": {} if key is None else {"X-API-Key": key}}
