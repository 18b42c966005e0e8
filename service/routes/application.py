"""The HTTP routes.

They are plain ASGI routes that take every request before BentoML's router (`app.Front`): its own
input handling answers junk with 500 and opens URLs that a client names, and costs more time than
the network.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from service.inference.backend import Backend
from service.reading import faces
from service.reading.decoding import Decoder
from service.reading.images import Limits
from service.routes.docs import DOCS_PAGE, DOCS_POLICY
from service.routes.explanations import MAX_EXPLAINS, explain
from service.routes.home import HOME_ROUTES, WholeFiles
from service.routes.openapi import describe_api
from service.routes.options import SEE
from service.routes.predictions import predict, predict_batch
from service.routes.refusals import HANDLERS
from service.server.access import Access
from service.server.balance import Balance
from service.server.exposition import expose
from service.server.health import Health
from service.server.load import Load
from service.server.request_log import RequestLog
from service.settings import Settings
from service.version import VERSION


def make_app(settings: Settings | None = None) -> Starlette:
    """The application; `state.settings` are those, and `state.backend` is still to be set.

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
        allow_headers=(
            *("Authorization", "Content-Type", "X-API-Key", "X-Request-ID"),
            *("traceparent", "tracestate"),
        ),
        expose_headers=("Retry-After", "X-Label", "X-Request-ID"),
    )
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestLog, health=health, balance=balance, paths=paths),
            *([cors] if settings.cors_origins else []),
            Middleware(Access, settings=settings),
        ],
        exception_handlers=HANDLERS,
    )
    # A path has one spelling; a POST would be sent twice.
    app.router.redirect_slashes = False
    app.state.settings, app.state.health, app.state.balance = settings, health, balance
    app.state.load = Load(settings.max_requests, settings.max_queue, settings.max_buffer_bytes)
    app.state.explaining = ThreadPoolExecutor(1, "explain")
    app.state.explains = asyncio.Semaphore(MAX_EXPLAINS)
    limits = Limits(pixels=settings.max_pixels, whole_pixels=settings.max_whole_pixels)
    app.state.decoder = Decoder(settings.threads, limits, settings.max_request_pixels)
    return app


def make_routes() -> list[Route | Mount]:
    """All paths; Starlette refuses others, and other methods."""
    return [
        Route("/predict", predict, methods=["POST"]),
        Route("/predict_batch", predict_batch, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/info", info),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", show_metrics),
        Route("/admin/reload", reload, methods=["POST"]),
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        *HOME_ROUTES,
        Mount(
            "/static_content",
            WholeFiles(packages=[("bentoml._internal.server", "static_content")]),
        ),
    ]


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
