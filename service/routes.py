"""The HTTP routes.

They are plain ASGI routes that BentoML mounts: its own input handling answers junk with
500 and opens URLs that a client names, and costs more time than the network.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from service import metrics
from service.access import Access
from service.batching import Batcher
from service.decoding import Decoder
from service.disconnect import while_wanted
from service.errors import RequestError
from service.exposition import expose
from service.gate import Gate
from service.health import Health
from service.home import HOME_ROUTES
from service.labels import LABELS
from service.load import Load
from service.openapi import DOCS_PAGE, DOCS_POLICY, describe_api
from service.settings import Settings
from service.uploads import read_files, read_image

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Backend:
    """What answers requests, set on `app.state.backend` before the first one."""

    batcher: Batcher
    model: str
    card: dict[str, Any]
    settings: Settings


def make_app(settings: Settings | None = None) -> Starlette:
    """The application; its `state.backend` is still to be set.

    Args:
        settings: limits, keys and origins; the defaults if None.
    """
    settings = settings or Settings()
    health = Health()
    routes = make_routes()
    paths = frozenset(route.path for route in routes if isinstance(route, Route))
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
        expose_headers=("Retry-After", "X-Request-ID"),
    )
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Gate, health=health, paths=paths),
            *([cors] if settings.cors_origins else []),
            Middleware(Access, settings=settings),
        ],
        exception_handlers={
            RequestError: refuse,
            HTTPException: refuse_http,
            ClientDisconnect: refuse_gone,
        },
    )
    app.state.health = health
    app.state.load = Load(settings.max_requests, settings.max_buffer_bytes)
    app.state.decoder = Decoder(settings.threads, settings.max_pixels, settings.max_request_pixels)
    return app


def make_routes() -> list[Route | Mount]:
    """All paths; the last one takes what no other does."""
    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/info", info),
        Route("/livez", livez),
        Route("/healthz", livez),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        *HOME_ROUTES,
        Mount(
            "/static_content",
            StaticFiles(packages=[("bentoml._internal.server", "static_content")]),
        ),
        # BentoML's own index loads a tracker from a foreign server; nothing falls through.
        Route("/{path:path}", missing, methods=METHODS),
    ]


async def predict(request: Request) -> Response:
    """One image in, one prediction out."""
    state = request.app.state
    state.load.check()
    with state.load.buffering() as buffer:
        content = await read_image(request, state.backend.settings, buffer)
        (result,) = await answer(request, [content])
    if isinstance(result, RequestError):
        raise result
    return JSONResponse(result)


async def predict_batch(request: Request) -> Response:
    """Many images in, one prediction or error for each out."""
    state = request.app.state
    settings: Settings = state.backend.settings
    state.load.check()
    with state.load.buffering() as buffer:
        contents = await read_files(request, settings, buffer, "images", settings.max_items)
        results = await answer(request, contents)
    return JSONResponse(
        {"results": [reject(item) if isinstance(item, RequestError) else item for item in results]}
    )


async def answer(request: Request, contents: list[bytes]) -> list[dict[str, Any] | RequestError]:
    """The prediction or the error for each image, while the client waits and time is left."""
    backend: Backend = request.app.state.backend
    seconds = backend.settings.answer_seconds
    with request.app.state.load.working():
        work = look_at(request.app.state.decoder, backend, contents, time.monotonic() + seconds)
        return await while_wanted(request, work, seconds)


async def look_at(
    decoder: Decoder, backend: Backend, contents: list[bytes], deadline: float
) -> list[dict[str, Any] | RequestError]:
    """Decode and predict: one prediction or error for each image."""
    decoded = await decoder.decode(contents, deadline)
    faces = [item for item in decoded if not isinstance(item, RequestError)]
    if not faces:
        return [item for item in decoded if isinstance(item, RequestError)]
    stack = np.stack(faces)
    metrics.observe_inputs(stack)
    rows = iter(await backend.batcher.submit(stack, deadline))
    return [
        item if isinstance(item, RequestError) else to_prediction(next(rows), backend)
        for item in decoded
    ]


async def info(request: Request) -> Response:
    """The model's name and card."""
    backend: Backend = request.app.state.backend
    return JSONResponse({"model": backend.model, "card": backend.card})


async def livez(request: Request) -> Response:
    """Whether the worker is alive."""
    request.app.state.health.check_live(request.app.state.backend.batcher)
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Whether the worker wants requests."""
    await request.app.state.health.check_ready(request.app.state.backend.batcher)
    return JSONResponse({"status": "ready"})


async def show_metrics(_: Request) -> Response:
    """The metrics of all workers."""
    text = await anyio.to_thread.run_sync(expose)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi(_: Request) -> Response:
    """The OpenAPI description."""
    return Response(describe_api(), media_type="application/json")


async def docs(_: Request) -> Response:
    """The API document for people."""
    return HTMLResponse(DOCS_PAGE, headers={"Content-Security-Policy": DOCS_POLICY})


async def missing(request: Request) -> Response:
    """There is no such path, or it takes another method."""
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] == Match.PARTIAL:
            headers = {"Allow": ", ".join(sorted(route.methods or ()))}
            text = f"{request.url.path} does not take this method."
            raise RequestError(405, "method_not_allowed", text, headers)
    raise RequestError(404, "not_found", f"No {request.url.path} here; see /docs.")


async def refuse_gone(request: Request, _: Exception) -> Response:
    """Close the books on a request whose sender hung up."""
    return await refuse(request, RequestError(400, "client_disconnected", "The body broke off."))


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer an error that Starlette raised, such as a missing static file."""
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    return await refuse(request, RequestError(error.status_code, code, f"{error.detail}.", headers))


async def refuse(_: Request, error: Exception) -> Response:
    """Answer a `RequestError`."""
    assert isinstance(error, RequestError)
    return error.response()


def reject(error: RequestError) -> dict[str, Any]:
    """Count the refusal of an item and give its body."""
    metrics.REJECTIONS.labels(error.code).inc()
    return error.body()


def to_prediction(row: NDArray[np.float32], backend: Backend) -> dict[str, Any]:
    """The answer for one row of probabilities, float32 (7,)."""
    scores = {label: round(float(p), 6) for label, p in zip(LABELS, row, strict=True)}
    label = LABELS[int(row.argmax())]
    metrics.PREDICTIONS.labels(label).inc()
    metrics.CONFIDENCE.observe(scores[label])
    uncertain = scores[label] < backend.card.get("uncertain_below", 0)
    if uncertain:
        metrics.UNCERTAIN.inc()
    return {
        "label": label,
        "confidence": scores[label],
        "uncertain": uncertain,
        "scores": scores,
        "model": backend.model,
    }
