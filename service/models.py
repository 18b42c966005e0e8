"""Models from the store, made ready; and another one taken up while requests go on."""

import asyncio
import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import bentoml
import psutil
from bentoml.exceptions import BentoMLException
from starlette.applications import Starlette

from service import metrics
from service.artifact import ArtifactError, load_artifact
from service.batching import Batcher
from service.errors import RequestError
from service.explain import Explainer
from service.golden import GoldenError, check_golden
from service.predictor import Predictor
from service.routes import Backend
from service.settings import Settings

LOG: Final = logging.getLogger("bentoml.facial_emotion")
SIGNAL: Final = signal.SIGUSR1
"""Tells a worker to look for another model."""


def make_backend(name: str, folder: Path, settings: Settings) -> Backend:
    """A model that is warm and says of the golden faces what it should; not started.

    Args:
        name: the model's name:version.
        folder: of its files.
        settings: of the service.

    Raises:
        ArtifactError: a file is missing, torn or altered.
        GoldenError: it answers otherwise than when it was published.
    """
    artifact = load_artifact(folder)
    explainer = Explainer(artifact.network)
    predictor = Predictor(artifact, settings.device, settings.max_batch_size, folder)
    predictor.warm_up()
    check_golden(folder, predictor.predict)
    batcher = Batcher(
        predictor.predict,
        max_batch_size=settings.max_batch_size,
        max_wait_ms=settings.max_wait_ms,
        max_queue=settings.max_queue,
        stall_seconds=settings.stall_seconds,
    )
    return Backend(batcher, name, artifact.card, settings, explainer)


@dataclass(frozen=True)
class Found:
    """A model in the store."""

    name: str
    folder: Path


def find_newest(tag: str) -> Found:
    """The model that a tag names now.

    Raises:
        BentoMLException: it is not in the store.
    """
    model = bentoml.models.get(tag)
    return Found(str(model.tag), Path(model.path))


class Swapper:
    """Takes up what `EMOTION_MODEL` names by now, if it answers as it should.

    Requests that began with the old model end with it. The other workers on this machine are
    told to do the same; each checks for itself.
    """

    def __init__(self, app: Starlette, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    def listen(self) -> None:
        """Reload on the signal; call inside the event loop, on the main thread."""
        loop = asyncio.get_running_loop()
        signal.signal(SIGNAL, lambda *_: loop.call_soon_threadsafe(self._follow))

    async def reload(self) -> dict[str, Any]:
        """Swap here, then tell the other workers.

        Returns:
            The names of the `model` that answers now and of the `previous` one, and how many
            other workers were told.

        Raises:
            RequestError: 409, the new model was refused; the old one goes on.
        """
        previous = self.app.state.backend.model
        await self._swap()
        told = tell_siblings()
        return {"model": self.app.state.backend.model, "previous": previous, "told": told}

    async def _swap(self) -> None:
        async with self._lock:
            old: Backend = self.app.state.backend
            try:
                found = find_newest(self.settings.model)
                if found.name == old.model:
                    metrics.RELOADS.labels("unchanged").inc()
                    return
                new = await anyio.to_thread.run_sync(
                    make_backend, found.name, found.folder, self.settings
                )
            except (ArtifactError, GoldenError, BentoMLException, OSError) as error:
                metrics.RELOADS.labels("refused").inc()
                LOG.error("%s goes on: %s", old.model, error)
                text = f"{old.model} goes on; the new model was refused: {error}"
                raise RequestError(409, "model_refused", text) from None
            new.batcher.start()
            self.app.state.backend = new
            metrics.MODEL.labels(old.model).set(0)
            metrics.MODEL.labels(new.model).set(1)
            metrics.RELOADS.labels("taken").inc()
            LOG.info("%s took over from %s", new.model, old.model)
            self._keep(self._retire(old.batcher))

    async def _retire(self, batcher: Batcher) -> None:
        # A request that began with the old model may still be decoding for so long.
        await asyncio.sleep(self.settings.answer_seconds)
        await batcher.stop()

    def _follow(self) -> None:
        async def swap() -> None:
            try:
                await self._swap()
            except RequestError:
                LOG.debug("refused, as logged")

        self._keep(swap())

    def _keep(self, work: Any) -> None:
        # The event loop alone would let a running task be collected.
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def tell_siblings() -> int:
    """Signal the other workers of this server; how many."""
    told = 0
    for sibling in psutil.Process(os.getppid()).children():
        try:
            is_worker = any("worker.service" in word for word in sibling.cmdline())
            if is_worker and sibling.pid != os.getpid():
                sibling.send_signal(SIGNAL)
                told += 1
        except psutil.NoSuchProcess:
            continue
    return told
