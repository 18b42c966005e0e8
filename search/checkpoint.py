"""A run's state on disk: written whole or not at all, read only by the run it belongs to."""

import io
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from search.config import recipe_from_dict
from search.errors import TrainingError
from service.artifact import write_whole

INTERVAL: Final = 10.0
"""Seconds after which a finished epoch is worth a checkpoint."""


class Clock:
    """Tells when a checkpoint is due: at first, since a full disk should be told of early.

    Not at every epoch: on a GPU one can be shorter than the writing of a checkpoint.
    """

    def __init__(self) -> None:
        self._last = -math.inf

    def due(self) -> bool:
        """Whether `INTERVAL` has passed since the last time that this said yes."""
        now = time.monotonic()
        if now - self._last < INTERVAL:
            return False
        self._last = now
        return True


def write_checkpoint(path: Path, plan: dict[str, Any], state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step, so that a kill leaves the old one or the new.

    Raises:
        TrainingError: the file cannot be written (full disk); the old one stays.
    """
    # Through memory: on a full disk torch's own writer ends in an error without a cause.
    buffer = io.BytesIO()
    torch.save({"plan": plan, "run": state}, buffer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getbuffer())
    except OSError as error:
        raise TrainingError(
            f"{path}: not written, {error.strerror}; the checkpoint before it stays"
        ) from None


def read_checkpoint(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The run's state in a checkpoint of this very plan.

    Raises:
        TrainingError: the file is torn, or of another network, recipe, seed or data.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found, state = saved["plan"], saved["run"]
        # Of an older version, which did not have all fields of today.
        found["recipe"] = asdict(recipe_from_dict(found["recipe"]))
        found.setdefault("validation_digest", plan["validation_digest"])
    except Exception as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({error})") from None
    differing = [key for key in plan if found.get(key) != plan[key]]
    if differing:
        raise TrainingError(
            f"{path}: checkpoint of another run, {', '.join(differing)} differs; "
            "name another output folder or remove it"
        )
    assert isinstance(state, dict)
    return state
