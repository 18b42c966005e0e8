"""What answers requests: a model of the store, made ready."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.artifact import load_artifact
from service.inference.batching import Batcher
from service.inference.device_memory import watch_memory
from service.inference.explain import Explainer
from service.inference.golden import check_golden
from service.inference.predictor import Predictor
from service.settings import Settings


@dataclass(frozen=True)
class Backend:
    """What answers requests, set on `app.state.backend` before the first one."""

    batcher: Batcher
    model: str
    card: dict[str, Any]
    explainer: Explainer


def make_backend(name: str, folder: Path, settings: Settings) -> Backend:
    """Loads a model, warms it up and checks its golden answers; its batcher is not started.

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
        watch_memory(predictor),
        max_batch_size=settings.max_batch_size,
        max_wait_ms=settings.max_wait_ms,
        stall_seconds=settings.stall_seconds,
    )
    return Backend(batcher, name, artifact.card, explainer)
