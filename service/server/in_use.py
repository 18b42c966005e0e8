"""Which model the workers of a server answer with, as the last one that changed it says."""

import os

from service.log import LOG
from service.server.shared_folder import shared_folder


def read_in_use() -> str | None:
    """The name:version that this server's workers answer with; None before the first one does."""
    folder = shared_folder()
    try:
        return (folder / "model").read_text() if folder else None
    except OSError:
        return None


def in_use_since() -> int | None:
    """When that was last said, in nanoseconds of the file's clock; None before."""
    folder = shared_folder()
    try:
        return (folder / "model").stat().st_mtime_ns if folder else None
    except OSError:
        return None


def write_in_use(name: str) -> None:
    """Tell the server's other workers, and those that come later."""
    if folder := shared_folder():
        fresh = folder / f"model.{os.getpid()}"
        try:
            fresh.write_text(name)
            fresh.replace(folder / "model")
        except OSError as error:
            LOG.error("the other workers do not hear of %s: %s", name, error)
