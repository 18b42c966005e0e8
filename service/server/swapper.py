"""Another model taken up while requests go on."""

import asyncio
import time
from typing import Final

import anyio.to_thread
import bentoml
from starlette.applications import Starlette

from service import metrics
from service.errors import RequestError
from service.inference.backend import Backend, make_backend
from service.inference.batching import Batcher
from service.inference.store import LATEST, find_stored
from service.log import LOG
from service.server.garbage import give_back_memory
from service.server.in_use import in_use_since, read_in_use, write_in_use
from service.settings import Settings

FOLLOW_SECONDS: Final = 1.0
"""How often a worker looks whether another one took up a model."""

RETRY_SECONDS: Final = 30.0
"""Until a worker that could not take it up tries again."""


class Swapper:
    """Takes up what `EMOTION_MODEL` names by now, if it answers as it should.

    Requests that began with the old model end with it. The server's other workers see in a
    shared file what was taken up; each checks for itself before it does the same.

    Args:
        app: its `state` has the `settings` and the `backend`.
    """

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.settings: Settings = app.state.settings
        self._lock = asyncio.Lock()
        # The event loop alone would let a running task be collected.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Follow the other workers; call inside the event loop."""
        if read_in_use() is None:
            write_in_use(self.app.state.backend.model)
        self._keep(asyncio.create_task(self._follow()))

    def stop(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()

    async def reload(self) -> dict[str, str]:
        """Take up the newest model.

        Returns:
            The names of the `model` that answers now and of the `previous` one.

        Raises:
            RequestError: 409, the new model was refused, or the settings name one version; the
                old one goes on.
        """
        if bentoml.Tag.from_str(self.settings.model).version not in (None, LATEST):
            text = f"EMOTION_MODEL fixes one version, {self.settings.model}; newer ones are taken "
            text += "up where it names the latest."
            raise RequestError(409, "model_fixed", text)
        async with self._lock:
            previous: str = self.app.state.backend.model
            await self._swap(self.settings.model)
            model: str = self.app.state.backend.model
            write_in_use(model)
            return {"model": model, "previous": previous}

    async def _swap(self, tag: str, follows: bool = False) -> None:
        """Take a model up, or keep the present one; one at a time."""
        old: Backend = self.app.state.backend
        try:
            new = await anyio.to_thread.run_sync(self._prepare, tag, old)
            # While it was made the others may have gone back.
            if follows and read_in_use() != new.model:
                new = old
            if new is not old:
                metrics.show_model(new.model, previous=old.model)
                new.batcher.start()
        # Whatever is wrong with the new model, the old one can answer.
        except Exception as error:
            metrics.RELOADS.labels("refused").inc()
            LOG.error("%s stays in service: %s", old.model, error)
            text = f"The new model was refused, {old.model} stays in service: {error}"
            raise RequestError(409, "model_refused", text) from None
        if new is old:
            metrics.RELOADS.labels("unchanged").inc()
            return
        # From here on nothing may raise.
        self.app.state.backend = new
        metrics.RELOADS.labels("taken").inc()
        LOG.info("%s took over from %s", new.model, old.model)
        self._keep(asyncio.create_task(self._retire(old.batcher)))

    def _prepare(self, tag: str, old: Backend) -> Backend:
        found = find_stored(tag)
        return (
            old
            if found.name == old.model
            else make_backend(found.name, found.folder, self.settings)
        )

    async def _retire(self, batcher: Batcher) -> None:
        # A request that began with the old model may still be decoding for so long.
        await asyncio.sleep(self.settings.answer_seconds)
        await batcher.stop()
        # The last that holds the old model.
        del batcher
        await anyio.to_thread.run_sync(give_back_memory)

    async def _follow(self) -> None:
        """Take up what another worker did; again after a reload, or a while after a refusal."""
        seen, due = None, 0.0
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            since = in_use_since()
            if since == seen and time.monotonic() < due:
                continue
            try:
                # Read within: a reload here may have changed it meanwhile.
                async with self._lock:
                    name = read_in_use()
                    if name not in (None, self.app.state.backend.model):
                        await self._swap(name, follows=True)
            except RequestError:
                pass  # It is in the log.
            except Exception:
                LOG.exception("the other workers' model could not be followed; trying again")
            seen, due = since, time.monotonic() + RETRY_SECONDS

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
