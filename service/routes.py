"""The HTTP routes.

They are plain ASGI routes that BentoML mounts: its own input handling answers junk with
500 and opens URLs that a client names, and costs more time than the network.
"""

from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.staticfiles import StaticFiles

from service import metrics
from service.batching import Batcher
from service.errors import RequestError
from service.images import decode_face
from service.labels import LABELS
from service.openapi import DOCS_PAGE, describe_api
from service.settings import Settings
from service.uploads import read_files, read_image

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Backend:
    """What answers requests, set on `app.state.backend` before the first one."""

    batcher: Batcher
    model: str
    card: dict[str, Any]
    settings: Settings


def make_app() -> Starlette:
    """The application; its `state.backend` is still to be set."""
    return Starlette(
        routes=[
            Route("/predict", predict, methods=["POST"]),
            Route("/predict_batch", predict_batch, methods=["POST"]),
            Route("/info", info),
            Route("/openapi.json", openapi),
            Route("/docs", docs),
            Route("/", home),
            Mount(
                "/static_content",
                StaticFiles(packages=[("bentoml._internal.server", "static_content")]),
            ),
            # BentoML's own index loads a tracker from a foreign server; nothing falls through.
            Route("/{path:path}", missing, methods=METHODS),
        ],
        exception_handlers={
            RequestError: refuse,
            HTTPException: refuse_http,
            ClientDisconnect: refuse_gone,
        },
    )


async def predict(request: Request) -> Response:
    """One image in, one prediction out."""
    backend: Backend = request.app.state.backend
    content = await read_image(request, backend.settings)
    (face,) = await decode([content], backend.settings)
    if isinstance(face, RequestError):
        raise face
    (row,) = await backend.batcher.submit(face[None])
    return JSONResponse(to_prediction(row, backend.model))


async def predict_batch(request: Request) -> Response:
    """Many images in, one prediction or error for each out."""
    backend: Backend = request.app.state.backend
    settings = backend.settings
    contents = await read_files(request, settings, "images", settings.max_items)
    decoded = await decode(contents, settings)
    faces = [item for item in decoded if not isinstance(item, RequestError)]
    rows = iter(await backend.batcher.submit(np.stack(faces)) if faces else ())
    results = [
        reject(item) if isinstance(item, RequestError) else to_prediction(next(rows), backend.model)
        for item in decoded
    ]
    return JSONResponse({"results": results})


async def info(request: Request) -> Response:
    """The model's name and card."""
    backend: Backend = request.app.state.backend
    return JSONResponse({"model": backend.model, "card": backend.card})


async def openapi(_: Request) -> Response:
    """The OpenAPI description."""
    return JSONResponse(describe_api())


async def docs(_: Request) -> Response:
    """The API document for people."""
    return HTMLResponse(DOCS_PAGE)


async def home(_: Request) -> Response:
    """Lead to the document."""
    return RedirectResponse("docs")


async def missing(request: Request) -> Response:
    """There is no such path, or it takes another method."""
    routes = request.app.routes
    if any(route.matches(request.scope)[0] == Match.PARTIAL for route in routes):
        raise HTTPException(405)
    raise RequestError(404, "not_found", f"No {request.url.path} here; see /docs.")


async def refuse_gone(request: Request, _: Exception) -> Response:
    """Close the books on a request whose sender hung up."""
    return await refuse(request, RequestError(400, "client_disconnected", "The body broke off."))


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer an error that Starlette raised, such as a wrong method."""
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    return await refuse(request, RequestError(error.status_code, code, f"{error.detail}."))


async def refuse(_: Request, error: Exception) -> Response:
    """Answer a `RequestError`."""
    assert isinstance(error, RequestError)
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse(reject(error), error.status, headers)


def reject(error: RequestError) -> dict[str, Any]:
    """Count a refusal and give its body."""
    metrics.REJECTIONS.labels(error.code).inc()
    return error.body()


async def decode(
    contents: list[bytes], settings: Settings
) -> list[NDArray[np.uint8] | RequestError]:
    """Decode in a thread: a uint8 (48, 48) face or the error for each image."""

    def decode_all() -> list[NDArray[np.uint8] | RequestError]:
        return [_decode_one(content, settings.max_pixels) for content in contents]

    with metrics.DECODE_SECONDS.time():
        return await anyio.to_thread.run_sync(decode_all)


def _decode_one(content: bytes, max_pixels: int) -> NDArray[np.uint8] | RequestError:
    try:
        return decode_face(content, max_pixels)
    except RequestError as error:
        return error


def to_prediction(row: NDArray[np.float32], model: str) -> dict[str, Any]:
    """The answer for one row of probabilities, float32 (7,)."""
    scores = {label: round(float(p), 6) for label, p in zip(LABELS, row, strict=True)}
    label = LABELS[int(row.argmax())]
    metrics.PREDICTIONS.labels(label).inc()
    return {"label": label, "confidence": scores[label], "scores": scores, "model": model}
