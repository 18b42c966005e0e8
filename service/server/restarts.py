"""Workers that came back: BentoML starts another one without a word."""

from pathlib import Path

from service import metrics
from service.log import LOG


def note_start(folder: Path | None, index: int | None) -> None:
    """Tell of a worker that takes the place of one that crashed or was killed.

    Args:
        folder: of the server's workers only; None outside of a server.
        index: of this worker; one that comes back has that of the one that died. None in a
            process that is no worker.
    """
    if folder is None or index is None:
        return
    try:
        (folder / f"started-{index}").touch(exist_ok=False)
    except FileExistsError:
        metrics.RESTARTS.inc()
        LOG.error("worker %d starts again; the one before it crashed or was killed", index)
    # A full disk is no reason not to serve.
    except OSError as error:
        LOG.error("a restart of worker %d would not be noted: %s", index, error)
