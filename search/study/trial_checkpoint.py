"""A trial's state on disk, so that a stopped one goes on in its epoch and not from nothing."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from search.claim import claim
from search.errors import CheckpointError, StudyError
from search.study.storage import find_file
from search.training.checkpoint import read_checkpoint

INTERVAL: Final = 60.0
"""Least seconds between the epochs that are kept; a worker that is told to stop keeps its steps."""


def find_folder(storage: str, study: str) -> Path | None:
    """Where a study's trials are kept, beside its SQLite file.

    None for other databases, whose workers need not share a disk.
    """
    file = find_file(storage)
    # The prefix keeps a study called ".." within.
    return file and file.with_name(f"{file.name}.trials") / f"study-{quote(study, safe='')}"


@contextmanager
def trial_checkpoint(folder: Path | None, slot: int) -> Iterator[Path | None]:
    """The place of a slot's checkpoint, which stays until `forget`.

    None without a folder, and where another process, taken for dead, still trains the slot.

    Raises:
        StudyError: nothing can be written there, which says nothing of the configuration.
    """
    if folder is None:
        yield None
        return
    path = folder / f"{slot}.pt"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mine = stack.enter_context(claim(path.with_suffix(".lock")))
        except OSError as error:
            raise StudyError(f"{folder}: no checkpoint can be written, {error.strerror}") from None
        yield path if mine else None


def read_epochs(checkpoint: Path, plan: Mapping[str, Any]) -> list[dict[str, float]]:
    """Figures of the epochs that it holds; it is removed where it is of another plan, or torn."""
    if not checkpoint.exists():
        return []
    try:
        history: list[dict[str, float]] = read_checkpoint(checkpoint, dict(plan))["history"]
    except CheckpointError:
        # Of a study of this name that was removed since then.
        checkpoint.unlink()
        return []
    return history


def forget(folder: Path, slot: int) -> None:
    """Remove the checkpoint of a settled slot, unless somebody trains it."""
    with suppress(OSError), claim(folder / f"{slot}.lock") as mine:
        if mine:
            (folder / f"{slot}.pt").unlink(missing_ok=True)


def discard(folder: Path | None, slots: Iterable[int]) -> None:
    """Remove the checkpoints of settled slots once all are; the folder, too, if it is empty."""
    if folder is None:
        return
    for slot in slots:
        forget(folder, slot)
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()
