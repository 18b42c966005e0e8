"""The routes in this process, with a stand-in for the network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message

from service.inference.backend import Backend
from service.inference.batching import Batcher
from service.inference.explain import Explainer
from service.inference.forward import Predict
from service.network import build_network
from service.routes.application import make_app
from service.settings import Settings
from tests.conftest import TINY

Work = Callable[[httpx.AsyncClient, Starlette], Awaitable[None]]


def even(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each label as likely as the others."""
    return np.full((len(faces), 7), 1 / 7, np.float32)


@asynccontextmanager
async def serving(settings: Settings, predict: Predict = even) -> AsyncIterator[Starlette]:
    """The application, ready."""
    app = make_app(settings)
    batcher = Batcher(
        predict,
        max_batch_size=settings.max_batch_size,
        max_wait_ms=settings.max_wait_ms,
        stall_seconds=settings.stall_seconds,
    )
    app.state.backend = Backend(batcher, "stand-in:1", {}, Explainer(build_network(TINY).eval()))
    batcher.start()
    try:
        yield app
    finally:
        await batcher.stop(1)
        app.state.decoder.stop()
        app.state.explaining.shutdown(wait=False)


@asynccontextmanager
async def on_socket(
    app: ASGIApp, protocol: type[asyncio.Protocol], **options: Any
) -> AsyncIterator[int]:
    """The port on which uvicorn, in this event loop, serves each connection by the protocol."""
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", **options))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        task = asyncio.create_task(server.serve([bound]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def with_client(settings: Settings, work: Work, predict: Predict = even) -> None:
    """Run `work` with a client of the application."""

    async def run() -> None:
        async with serving(settings, predict) as app:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                await work(client, app)

    asyncio.run(asyncio.wait_for(run(), 20))


async def hang_up(
    app: Starlette, *before: Message, path: str = "/predict", query: bytes = b""
) -> None:
    """A raw POST whose client leaves after what it has sent before."""
    messages: list[Message] = [*before, {"type": "http.disconnect"}]

    async def receive() -> Message:
        await asyncio.sleep(0.05)
        return messages.pop(0)

    async def send(message: Message) -> None: ...

    scope = {
        **{"type": "http", "method": "POST", "path": path, "query_string": query},
        "headers": [(b"content-type", b"image/png")],
    }
    await app(scope, receive, send)
