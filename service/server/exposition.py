"""The metrics of all workers of a server in Prometheus' text format.

Each worker writes into files in one folder. BentoML keeps that folder in its home, where a
second server wipes it and a full disk kills whoever writes; here it is the server's own, and the
files have their room from the start.
"""

import os
from pathlib import Path
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess, values

from service.log import LOG
from service.server.shared_folder import allocate, shared_folder

_ROOM: Final = {
    "counter": 1 << 16,
    "gauge_livesum": 1 << 16,
    "histogram": 1 << 17,
}
"""Bytes of prometheus_client's file for each kind of metric, enough for all labels."""


def share_metrics() -> None:
    """Keep this process's metrics in the shared folder; call before the first metric is made.

    They stay its own where the files have no room: prometheus_client makes sparse ones, and the
    first write to a page of such a file on a full disk kills the process.
    """
    folder = shared_folder()
    if folder is None:
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    # Chosen by that variable when prometheus_client was imported.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    try:
        for kind, size in _ROOM.items():
            file = folder / f"{kind}_{os.getpid()}.db"
            # Of an earlier worker with this number, which this one goes on counting from.
            if not file.exists():
                _make(file, size)
    except OSError as error:
        values.ValueClass = values.MutexValue
        LOG.error("/metrics does not show this worker, whose files have no room: %s", error)


def _make(path: Path, size: int) -> None:
    fresh = path.with_suffix(".tmp")
    try:
        allocate(fresh, size)
        # Whoever collects the metrics of all workers fails on an empty file.
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def expose() -> bytes:
    """The text of `/metrics`; blocking."""
    folder = shared_folder()
    if folder is None:
        return generate_latest(REGISTRY)
    _forget_dead_workers(folder)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
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
