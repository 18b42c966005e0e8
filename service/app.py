"""The BentoML service: finds the model in the store, warms it up, answers by our routes."""

# ruff: noqa: E402
import asyncio
import os
import sys
from pathlib import Path

from service.server.exposition import share_metrics
from service.server.shared_folder import shared_folder, take_folder
from service.server.tracing import TRACING, TracingError, prepare_tracing

IS_PARENT = take_folder()
share_metrics()

from service.server.parent import insist_on_leaving, leave_with_parent

if IS_PARENT:
    insist_on_leaving()
else:
    leave_with_parent()

import bentoml

from service.log import LOG, configure_log, flush_log, set_log_level
from service.server.log_writer import LogWriter
from service.server.restarts import note_start

if not IS_PARENT:
    configure_log(LogWriter(sys.stdout.fileno()))
    # Before anything that can fail: one that dies while it loads is to be told of, too.
    note_start(shared_folder(), bentoml.server_context.worker_index)

try:
    prepare_tracing()
except TracingError as error:
    raise SystemExit(f"error: {error}") from None

import anyio.to_thread
import torch
from bentoml.models import BentoModel
from starlette.types import ASGIApp, Receive, Scope, Send

from service import metrics
from service.artifact import ArtifactError, load_artifact
from service.device import DeviceError, pick_device
from service.inference.backend import make_backend
from service.inference.golden import GoldenError, check_golden
from service.inference.predictor import Predictor
from service.reading import images
from service.routes.application import make_app
from service.server.connections import Connections, raise_file_limit
from service.server.drain import drain_on_sigterm
from service.server.garbage import spare_what_is_loaded
from service.server.in_use import read_in_use
from service.server.overload import Overload
from service.server.protocol import set_protocol
from service.server.swapper import Swapper
from service.server.watchdog import watch
from service.settings import DEFAULT_MODEL, Settings, SettingsError

# Generated images set this, and BentoML then leaves killed workers dead.
os.environ.pop("BENTOML_CONTAINERIZED", None)


def read_settings() -> Settings:
    """The settings, or the end of the process with a line that says what is wrong."""
    try:
        settings = Settings.from_environment()
        pick_device(settings.device)
    except SettingsError as error:
        raise SystemExit(f"error: {error}") from None
    except DeviceError as error:
        raise SystemExit(f"error: EMOTION_DEVICE: {error}") from None
    return settings


def find_model(tag: str) -> BentoModel:
    """The model's place in the store.

    Checked on import in BentoML's parent process: a worker that failed would be
    started again and again.

    Raises:
        SystemExit: it is not in the store, its files are unreadable, torn or altered, or it
            does not say of the golden faces what it should; the line says which command to run.
    """
    command = "make model" if tag == DEFAULT_MODEL else "bentoml models list"
    stored = None
    try:
        reference = BentoModel(tag)
        stored = reference.stored
        if stored is None:
            raise SystemExit(f"error: no model {tag} in the BentoML store; run: {command}")
        if IS_PARENT:
            folder = Path(stored.path)
            predictor = Predictor(load_artifact(folder), "cpu", SETTINGS.max_batch_size, folder)
            check_golden(folder, predictor.predict)
    # BentoML passes on whatever its parsers raise on a torn file.
    except Exception as error:
        text = " ".join(str(error).split())
        # Artifacts tell of an OSError by an error of their own.
        if isinstance(error, PermissionError) or isinstance(error.__context__, PermissionError):
            text += f"; user {os.geteuid()} cannot read it"
            command = "chmod -R a+rX BENTOML_HOME, as its owner"
        elif stored and tag == DEFAULT_MODEL:
            command += f" (your own: publish it again, or run: bentoml models delete {stored.tag})"
        raise SystemExit(f"error: EMOTION_MODEL={tag!r}: {text}; run: {command}") from None
    return reference


def choose_tag() -> str:
    """What to serve: what the other workers do, else what the settings name.

    A worker that comes back must not take up a newer model that nobody has checked.
    """
    name = read_in_use()
    return name if name and BentoModel(name).stored else SETTINGS.model


def join_others() -> None:
    """Share connections evenly with the server's other workers, from now on."""
    folder, index = shared_folder(), bentoml.server_context.worker_index
    if folder is None or index is None:
        return
    try:
        APP.state.balance.join(folder, index - 1, SETTINGS.workers)
    # A full disk is no reason not to serve.
    except OSError as error:
        LOG.error("connections are not shared evenly: %s", error)


SETTINGS = read_settings()
APP = make_app(SETTINGS)
CONNECTIONS = Connections(SETTINGS.head_seconds)
# These refusals have no CORS headers, without which a page could not read them.
OVERLOAD = None if SETTINGS.cors_origins else Overload(APP.state.load, APP.state.health)
set_protocol(CONNECTIONS, SETTINGS.max_head_bytes, OVERLOAD)


class Front:
    """ASGI middleware that answers every request by our routes.

    BentoML's own router would answer health and unknown paths in other shapes, matches each
    path twice, and counts requests by their raw path, a label without bound.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass HTTP to our routes and the lifespan to BentoML; nothing else comes."""
        if scope["type"] == "lifespan":
            # From before BentoML's middlewares: the spans that they begin when tracing is off and
            # the task and timer that they make for each request are a sixth of its way here.
            scope["app"].middleware_stack = Front(scope["app"].middleware_stack)
        await (APP if scope["type"] == "http" else self.app)(scope, receive, send)


@bentoml.service(
    name="facial-emotion",
    workers=SETTINGS.workers,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class FacialEmotion:
    """Names the expression in face images."""

    model = find_model(choose_tag())

    def __init__(self) -> None:
        set_log_level(SETTINGS.log_level)
        TRACING.start()
        raise_file_limit()
        torch.set_num_threads(SETTINGS.threads)
        try:
            backend = make_backend(str(self.model.tag), Path(self.model.path), SETTINGS)
        except (ArtifactError, GoldenError) as error:
            raise SystemExit(f"error: {error}") from None
        images.warm_up()
        APP.state.backend = backend

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Begin to gather batches."""
        APP.state.backend.batcher.start()
        metrics.READY.set(1)
        metrics.show_build()
        metrics.show_model(APP.state.backend.model)
        drain_on_sigterm(APP.state.health, SETTINGS.drain_seconds, SETTINGS.grace_seconds)
        join_others()
        CONNECTIONS.watch()
        APP.state.swapper = Swapper(APP)
        APP.state.swapper.start()
        # The event loop alone would let a running task be collected.
        APP.state.watchdog = asyncio.get_running_loop().create_task(watch(APP.state))
        spare_what_is_loaded()
        LOG.info("ready with %s", APP.state.backend.model)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Finish what was accepted."""
        APP.state.watchdog.cancel()
        APP.state.swapper.stop()
        await APP.state.backend.batcher.stop()
        APP.state.decoder.stop()
        APP.state.explaining.shutdown(wait=False, cancel_futures=True)
        await anyio.to_thread.run_sync(TRACING.stop)
        # uvicorn ends the process by the signal that it got, and nothing runs after that.
        await anyio.to_thread.run_sync(flush_log)


FacialEmotion.add_asgi_middleware(Front)  # type: ignore[attr-defined]
