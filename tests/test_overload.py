import asyncio
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from service.errors import busy
from service.server import overload
from service.server.overload import Overload, RefusingConnection
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.serving import even, on_socket, serving

FACE = encode(make_faces(1).images[0])

Flood = Callable[[httpx.AsyncClient, threading.Event], Awaitable[None]]


def when_full(flood: Flood) -> None:
    """Run a flood at a worker of one place, which is taken until the event is set."""
    asyncio.run(asyncio.wait_for(run(flood), 20))


async def run(flood: Flood) -> None:
    release = threading.Event()

    def wait(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        release.wait(5)
        return even(faces)

    async with serving(Settings(max_requests=1), wait) as app, listening(app) as client:
        first = asyncio.create_task(ask(client))
        while not app.state.load.full:
            await asyncio.sleep(0.01)
        await flood(client, release)
        release.set()
        assert (await first).status_code == 200
        assert app.state.load.requests == 0


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on uvicorn."""

    class Refusing(RefusingConnection):
        overload = Overload(app.state.load, app.state.health)

    async with (
        on_socket(app, Refusing) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/predict", files={"image": FACE}, headers=headers)


async def read_status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head)
    assert length
    await reader.readexactly(int(length[1]))
    return int(head.split()[1])


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_refusal_tells_all_that_others_do() -> None:
    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        answer = await ask(client, **{"X-Request-ID": "mine"})
        assert answer.status_code == 503
        assert answer.json() == busy().body()
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-request-id"] == "mine"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-length"] == str(len(answer.content))

    requests = count("emotion_requests_total", route="/predict", status="503")
    codes = count("emotion_rejections_total", code="unavailable")
    when_full(flood)
    assert count("emotion_requests_total", route="/predict", status="503") == requests + 1
    assert count("emotion_rejections_total", code="unavailable") == codes + 1


def test_a_refusal_is_held_back_and_taken_back_when_there_is_room() -> None:
    async def flood(client: httpx.AsyncClient, release: threading.Event) -> None:
        begun = time.monotonic()
        assert (await ask(client)).status_code == 503
        assert time.monotonic() - begun >= overload.HOLD_SECONDS
        held = asyncio.create_task(ask(client))
        await asyncio.sleep(overload.HOLD_SECONDS / 4)
        release.set()
        assert (await held).status_code == 200

    when_full(flood)


def test_what_is_held_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "MAX_HELD", 2)
    monkeypatch.setattr(overload, "HOLD_SECONDS", 0.5)

    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        begun = time.monotonic()
        posts = [asyncio.create_task(ask(client)) for _ in range(3)]
        held = (await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED))[1]
        assert time.monotonic() - begun < 0.4
        assert len(held) == 2
        assert {(await post).status_code for post in posts} == {503}

    when_full(flood)


def test_other_paths_are_answered() -> None:
    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        for path in ("/livez", "/readyz", "/info", "/metrics"):
            assert (await client.get(path)).status_code == 200

    when_full(flood)


def test_a_connection_is_used_again_after_a_refusal() -> None:
    async def flood(client: httpx.AsyncClient, release: threading.Event) -> None:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        body = b"x" * 300_000
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        refused = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        # The second is sent before the first is answered.
        writer.write(refused + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        statuses = [await read_status(reader) for _ in range(2)]
        assert statuses == [503, 200]
        writer.write(head + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await read_status(reader) == 503
        assert await reader.read() == b""
        writer.close()

    when_full(flood)


def test_who_hangs_up_while_held_is_forgotten() -> None:
    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        requests = count("emotion_requests_total", route="/predict", status="503")
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/predict", content=b"x", timeout=overload.HOLD_SECONDS / 4)
        await asyncio.sleep(2 * overload.HOLD_SECONDS)
        assert count("emotion_requests_total", route="/predict", status="503") == requests

    when_full(flood)


def test_the_log_has_one_line_for_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(overload, "_TOLD_SECONDS", 0.3)

    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        await asyncio.gather(*(ask(client) for _ in range(5)))
        await asyncio.sleep(0.4)

    with caplog.at_level(logging.WARNING, "bentoml.facial_emotion"):
        when_full(flood)
    (line,) = (record for record in caplog.records if record.message == "busy")
    assert vars(line)["details"] == {"refused": 5, "seconds": 0.3}


def test_a_long_pipeline_of_requests_is_refused_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "MAX_HELD", 0)

    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 2000)
        assert {await read_status(reader) for _ in range(2000)} == {503}
        writer.close()

    when_full(flood)
