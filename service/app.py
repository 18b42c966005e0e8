"""The BentoML service: finds the model in the store, warms it up, mounts the routes."""

from pathlib import Path

import bentoml
import torch
from bentoml.models import BentoModel

from service import images
from service.artifact import ArtifactError, load_artifact
from service.batching import Batcher
from service.predictor import Predictor
from service.routes import Backend, make_app
from service.settings import Settings, SettingsError


def read_settings() -> Settings:
    """The settings, or the end of the process with a line that says what is wrong."""
    try:
        return Settings.from_environment()
    except SettingsError as error:
        raise SystemExit(f"error: {error}") from None


def find_model(tag: str) -> BentoModel:
    """The model's place in the store.

    Checked on import, in BentoML's parent process: a worker that failed would be
    started again and again.

    Raises:
        SystemExit: it is not in the store, or its files are torn or altered.
    """
    reference = BentoModel(tag)
    stored = reference.stored
    if stored is None:
        raise SystemExit(f"error: no model {tag} in the BentoML store; run: make model")
    try:
        load_artifact(Path(stored.path))
    except ArtifactError as error:
        raise SystemExit(f"error: {error}") from None
    return reference


SETTINGS = read_settings()
APP = make_app()


@bentoml.service(
    name="facial-emotion",
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    # An access-log line costs more than decoding a face; the metrics count requests.
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(APP, path="/")
class FacialEmotion:
    """Names the expression in face images."""

    model = find_model(SETTINGS.model)

    def __init__(self) -> None:
        torch.set_num_threads(SETTINGS.threads)
        stored = self.model
        artifact = load_artifact(Path(stored.path))
        predictor = Predictor(artifact, SETTINGS.device, SETTINGS.max_batch_size)
        predictor.warm_up()
        images.warm_up()
        batcher = Batcher(
            predictor.predict,
            max_batch_size=SETTINGS.max_batch_size,
            max_wait_ms=SETTINGS.max_wait_ms,
            max_queue=SETTINGS.max_queue,
        )
        APP.state.backend = Backend(batcher, str(stored.tag), artifact.card, SETTINGS)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Begin to gather batches."""
        APP.state.backend.batcher.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Finish the batch in flight."""
        await APP.state.backend.batcher.stop()
