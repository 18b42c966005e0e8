"""The HTTP routes.

They are plain ASGI routes that BentoML mounts: its own input handling answers junk with
500 and opens URLs that a client names, and costs more time than the network.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

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

from service import faces, metrics
from service.access import Access
from service.balance import Balance
from service.batching import Batcher
from service.decoding import Decoder, See, Seen, see_crop, see_photo
from service.disconnect import while_wanted
from service.errors import RequestError
from service.explain import Explainer, draw_overlay
from service.exposition import expose
from service.gate import Gate
from service.health import Health
from service.home import HOME_ROUTES
from service.labels import LABELS
from service.load import Load
from service.openapi import DOCS_PAGE, DOCS_POLICY, describe_api
from service.settings import Settings
from service.tracing import TRACING
from service.uploads import read_files, read_image
from service.version import VERSION

T = TypeVar("T")

SEE: Final[dict[str, See]] = {"crop": see_crop, "auto": see_photo}
"""The option `faces`: the image is a face, or faces are to be found in it."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Backend:
    """What answers requests, set on `app.state.backend` before the first one."""

    batcher: Batcher
    model: str
    card: dict[str, Any]
    settings: Settings
    explainer: Explainer


def make_app(settings: Settings | None = None) -> Starlette:
    """The application; its `state.backend` is still to be set.

    Args:
        settings: limits, keys and origins; the defaults if None.
    """
    settings = settings or Settings()
    health, balance = Health(), Balance()
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
            Middleware(Gate, health=health, balance=balance, paths=paths),
            *([cors] if settings.cors_origins else []),
            Middleware(Access, settings=settings),
        ],
        exception_handlers={
            RequestError: refuse,
            HTTPException: refuse_http,
            ClientDisconnect: refuse_gone,
        },
    )
    app.state.health, app.state.balance = health, balance
    app.state.load = Load(settings.max_requests, settings.max_buffer_bytes)
    app.state.explaining = anyio.CapacityLimiter(1)
    app.state.decoder = Decoder(settings.threads, settings.max_pixels, settings.max_request_pixels)
    return app


def make_routes() -> list[Route | Mount]:
    """All paths; the last one takes what no other does."""
    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/info", info),
        Route("/livez", livez),
        Route("/healthz", livez),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
        Route("/admin/reload", reload, methods=["POST"]),
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
    """One image in, one prediction out, or one for each face in it."""
    state = request.app.state
    see = choose(request, "faces", SEE)
    state.load.check()
    with state.load.buffering() as buffer:
        content = await read_image(request, state.backend.settings, buffer)
        (result,) = await answer(request, [content], see)
    if isinstance(result, RequestError):
        raise result
    return JSONResponse(result)


async def predict_batch(request: Request) -> Response:
    """Many images in, one prediction or error for each out."""
    state = request.app.state
    settings: Settings = state.backend.settings
    see = choose(request, "faces", SEE)
    state.load.check()
    with state.load.buffering() as buffer:
        contents = await read_files(request, settings, buffer, "images", settings.max_items)
        results = await answer(request, contents, see)
    return JSONResponse(
        {"results": [reject(item) if isinstance(item, RequestError) else item for item in results]}
    )


async def explain(request: Request) -> Response:
    """One image in, the heat map of a label out."""
    state = request.app.state
    see = choose(request, "faces", SEE)
    drawn = choose(request, "format", {"png": True, "json": False})
    labels = {name: index for index, name in enumerate(LABELS)}
    label = choose(request, "label", labels) if "label" in request.query_params else None
    state.load.check()
    with state.load.buffering() as buffer:
        content = await read_image(request, state.backend.settings, buffer)
        # Once for all that follows, and not before: a swap ends the old one after a while.
        backend: Backend = state.backend
        seconds = backend.settings.answer_seconds
        with state.load.working():
            deadline = time.monotonic() + seconds
            work = explain_face(request, backend, content, see=see, label=label, deadline=deadline)
            face, index, heat = await while_wanted(request, work, seconds)
    if drawn:
        image = await anyio.to_thread.run_sync(draw_overlay, face, heat)
        return Response(image, media_type="image/png", headers={"X-Label": LABELS[index]})
    rows = [[round(float(level), 3) for level in row] for row in heat]
    return JSONResponse({"label": LABELS[index], "heat": rows, "model": backend.model})


async def explain_face(
    request: Request,
    backend: Backend,
    content: bytes,
    *,
    see: See,
    label: int | None,
    deadline: float,
) -> tuple[NDArray[np.uint8], int, NDArray[np.float32]]:
    """A face, the index of the named or likeliest label, and the heat map of it."""
    state = request.app.state
    (seen,) = await state.decoder.decode([content], deadline, see)
    if isinstance(seen, RequestError):
        raise seen
    number = choose(request, "face", {str(n): n for n in range(len(seen.faces))}, "0")
    face = seen.faces[number]
    if label is None:
        label = int((await backend.batcher.submit(face[None], deadline)).argmax())
    heat = await anyio.to_thread.run_sync(
        backend.explainer.explain, face, label, limiter=state.explaining
    )
    return face, label, heat


def choose(request: Request, name: str, values: Mapping[str, T], default: str = "") -> T:
    """What an option in the query stands for; the first value where it has no default.

    Raises:
        RequestError: 400, not one of the values.
    """
    word = request.query_params.get(name, default or next(iter(values)))
    if word not in values:
        text = f"{name} must be one of: {', '.join(values)}."
        raise RequestError(400, "invalid_option", text)
    return values[word]


async def answer(
    request: Request, contents: list[bytes], see: See
) -> list[dict[str, Any] | RequestError]:
    """The prediction or the error for each image, while the client waits and time is left."""
    backend: Backend = request.app.state.backend
    seconds = backend.settings.answer_seconds
    with request.app.state.load.working():
        deadline = time.monotonic() + seconds
        work = look_at(request.app.state.decoder, backend, contents, deadline, see)
        return await while_wanted(request, work, seconds)


async def look_at(
    decoder: Decoder, backend: Backend, contents: list[bytes], deadline: float, see: See
) -> list[dict[str, Any] | RequestError]:
    """Decode and predict: the predictions or the error for each image."""
    with TRACING.step("decode", images=len(contents)), backend.batcher.coming():
        decoded = await decoder.decode(contents, deadline, see)
    found = [item.faces for item in decoded if isinstance(item, Seen)]
    if not found:
        return [item for item in decoded if isinstance(item, RequestError)]
    stack = np.concatenate(found)
    with TRACING.step("network", faces=len(stack)):
        rows = iter(await backend.batcher.submit(stack, deadline))
    return [
        item if isinstance(item, RequestError) else to_answer(item, rows, backend)
        for item in decoded
    ]


def to_answer(seen: Seen, rows: Iterator[NDArray[np.float32]], backend: Backend) -> dict[str, Any]:
    """An image's prediction, or its faces' with their boxes; takes its rows."""
    if seen.boxes is None:
        return to_prediction(next(rows), backend)
    return {
        "faces": [{"box": box.fields(), **to_prediction(next(rows), backend)} for box in seen.boxes]
    }


async def info(request: Request) -> Response:
    """The versions of service and model, and the model's card."""
    backend: Backend = request.app.state.backend
    choices = [name for name in SEE if name == "crop" or faces.AVAILABLE]
    facts = {"version": VERSION, "model": backend.model, "faces": choices, "card": backend.card}
    return JSONResponse(facts)


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


async def reload(request: Request) -> Response:
    """Take up the newest version of the model, here and in the other workers."""
    return JSONResponse(await request.app.state.swapper.reload())


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
    """Close the books on a request whose sender hung up; nginx's status, which nobody reads."""
    return await refuse(request, RequestError(499, "client_disconnected", "The client hung up."))


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
