"""The metrics of all workers of a server in Prometheus' text format.

Each worker writes into files in one folder. BentoML keeps that folder in its home, where a
second server wipes it and a full disk kills whoever writes; this one is the server's own, in
memory where the system allows, and its files have their room from the start. All of the server's
processes hold a lock on it, so that what is left of a server that was killed is told from a live
one's, also by who cannot see its processes.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess, values

from service.journal import LOG

_OURS: Final = "FACIAL_EMOTION_METRICS"
_PROMETHEUS: Final = "PROMETHEUS_MULTIPROC_DIR"
_MEMORY: Final = "/dev/shm"
_PREFIX: Final = "emotion-metrics-"

_ROOM: Final = {
    "counter": 1 << 16,
    "gauge_livemostrecent": 1 << 16,
    "gauge_livesum": 1 << 16,
    "histogram": 1 << 17,
}
"""Bytes of prometheus_client's file for each kind of metric, enough for all labels."""


def share_metrics() -> bool:
    """Choose the folder in BentoML's parent process, take it over in its workers.

    Call before the first metric is made.

    Returns:
        Whether this is the parent.
    """
    parent = _OURS not in os.environ
    if parent:
        place = Path(_MEMORY if os.access(_MEMORY, os.W_OK) else tempfile.gettempdir())
        _remove_left(place)
        folder = _make_held(place)
        os.environ[_OURS] = str(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        # It may outlive its parent, and answers until it has drained.
        _hold(Path(os.environ[_OURS]))
        # BentoML makes a temporary folder whenever a worker starts; on a full disk none came back.
        tempfile.tempdir = os.environ[_OURS]
        _make_room(Path(os.environ[_OURS]))
    os.environ[_PROMETHEUS] = os.environ[_OURS]
    return parent


def _make_room(folder: Path) -> None:
    """Make this worker's files, or have it count for itself alone where they have no room.

    prometheus_client makes sparse ones, and the first write to a page of such a file on a full
    disk kills the process.
    """
    try:
        for kind, size in _ROOM.items():
            file = folder / f"{kind}_{os.getpid()}.db"
            # Of an earlier worker with this number, which this one goes on counting from.
            if not file.exists():
                _allocate(file, size)
    except OSError as error:
        values.ValueClass = values.MutexValue
        LOG.error("/metrics does not show this worker, whose files have no room: %s", error)


def _allocate(path: Path, size: int) -> None:
    fresh = path.with_suffix(".tmp")
    try:
        with fresh.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        # Whoever collects the metrics of all workers fails on an empty file.
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _make_held(place: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place))
    _hold(folder)
    # Found by others from here on, not before it is held.
    return folder.rename(place / folder.name.removeprefix("."))


def _hold(folder: Path) -> None:
    """Lock the folder with others for this process's life."""
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)


def _remove_left(place: Path) -> None:
    """Remove the folders of servers that were killed, which nobody holds."""
    for folder in place.glob(f"{_PREFIX}*"):
        # Another user's, held, or just removed.
        with suppress(OSError), _opened(folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield file
    finally:
        os.close(file)


def shared_folder() -> Path | None:
    """The folder that the workers of this server share; None outside of a server."""
    folder = os.environ.get(_PROMETHEUS)
    return Path(folder) if folder else None


def expose() -> bytes:
    """The text of `/metrics`; blocking."""
    folder = shared_folder()
    if folder is None:
        return generate_latest(REGISTRY)
    _forget_dead_workers(folder)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if _has_ended(pid):
            # Another worker that is asked at the same time may have been faster.
            file.unlink(missing_ok=True)


def _has_ended(pid: int) -> bool:
    """Whether a process is gone or was killed; its parent may learn of that seconds later."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return Path("/proc/self").exists()
    return state == "Z"
