import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from starlette.applications import Starlette

from service import overload
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.serving import even, with_client

FACE = encode(make_faces(1).images[0])

Flood = Callable[[httpx.AsyncClient, threading.Event], Awaitable[None]]


def when_full(flood: Flood, **settings: object) -> None:
    """Run `flood` with a client of a worker that is full until the event is set."""
    release = threading.Event()

    def wait(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        release.wait(5)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        first = asyncio.create_task(ask(client))
        while not app.state.load.full:
            await asyncio.sleep(0.01)
        await flood(client, release)
        release.set()
        assert (await first).status_code == 200
        assert app.state.load.requests == 0

    with_client(Settings.model_validate({"max_requests": 1, **settings}), work, wait)


async def ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/predict", files={"image": FACE}, headers=headers)


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_refusal_tells_all_that_others_do() -> None:
    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        answer = await ask(client, **{"X-Request-ID": "mine"})
        assert answer.status_code == 503
        message = "The service is busy: 1 requests are in work."
        assert answer.json() == {"error": {"code": "unavailable", "message": message}}
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


def test_a_page_of_another_origin_may_read_the_refusal() -> None:
    async def flood(client: httpx.AsyncClient, _: threading.Event) -> None:
        answer = await ask(client, Origin="https://example.org")
        assert answer.status_code == 503
        assert answer.headers["access-control-allow-origin"] == "https://example.org"

    when_full(flood, cors_origins=["https://example.org"])


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
