"""What answers requests."""

from dataclasses import dataclass
from typing import Any

from service.batching import Batcher
from service.explain import Explainer


@dataclass(frozen=True)
class Backend:
    """What answers requests, set on `app.state.backend` before the first one."""

    batcher: Batcher
    model: str
    card: dict[str, Any]
    explainer: Explainer
