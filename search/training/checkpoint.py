"""A run's state on disk: written whole or not at all, read only by the run it belongs to."""

import io
import math
import time
from pathlib import Path
from typing import Any, Final

import torch

from search.errors import CheckpointError
from search.training.plan import differing_fields
from service.artifact import write_whole

INTERVAL: Final = 10.0
"""Seconds after which a finished epoch is worth a checkpoint."""


class Clock:
    """Tells after which epochs a checkpoint is due.

    Not after every one: on a GPU one can be shorter than the writing of a checkpoint.

    Args:
        interval: seconds between two of them.
        edges: also after the first epoch, since a full disk should be told of early, and after
            the last one.
    """

    def __init__(self, interval: float = INTERVAL, edges: bool = True) -> None:
        self.interval, self.edges = interval, edges
        self._last = -math.inf if edges else time.monotonic()

    def due(self, ended: bool = False) -> bool:
        """Whether one is due now; the interval then begins anew."""
        now = time.monotonic()
        if now - self._last < self.interval:
            return ended and self.edges
        self._last = now
        return True


def write_checkpoint(path: Path, plan: dict[str, Any], state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step, so that a kill leaves the old one or the new.

    Raises:
        CheckpointError: the file cannot be written (full disk); the old one stays.
    """
    # Through memory: on a full disk torch's own writer ends in an error without a cause.
    buffer = io.BytesIO()
    torch.save({"plan": plan, "run": state}, buffer)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getbuffer())
    except OSError as error:
        raise CheckpointError(
            f"{path}: not written, {error.strerror}; the checkpoint before it stays"
        ) from None


def read_checkpoint(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """The run's state in a checkpoint of this very plan.

    Raises:
        CheckpointError: the file is torn, or of another network, recipe, seed or data.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found, state = saved["plan"], saved["run"]
        differing = differing_fields(found, plan)
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None
    if differing:
        raise CheckpointError(
            f"{path}: checkpoint of another run, {', '.join(differing)} differs; "
            "name another output folder or remove it"
        )
    assert isinstance(state, dict)
    return state
