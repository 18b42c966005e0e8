"""Keeps a second command from a table that one is writing.

The second would replace the file, and the first write on into one that no longer has a name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from facial_emotion_client.table import TableError

fcntl: Any
try:
    import fcntl
except ImportError:
    # Windows has none, and does not let a file that is open be replaced anyway.
    fcntl = None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a table; a file beside it, gone at the end, is what is locked.

    The table cannot be: it may not be there yet, and each command replaces it.

    Raises:
        TableError: another command holds it, or its folder does not exist.
        OSError: the table's folder cannot be written.
    """
    if not path.parent.is_dir():
        raise TableError(f"{path}: there is no folder {path.parent}")
    if fcntl is None:
        yield
        return
    # Hidden, so that it does not count as one of the folder's files.
    beside = path.parent / f".{path.name}.lock"
    with _take(beside, path):
        try:
            yield
        finally:
            beside.unlink(missing_ok=True)


def _take(beside: Path, path: Path) -> IO[str]:
    while True:
        file = beside.open("a")
        try:
            _lock(file)
        except BlockingIOError:
            file.close()
            text = f"{path} is being written by another command; wait for its end"
            raise TableError(f"{text}, or name another file by --out") from None
        # Who held it may have removed it between the two steps.
        if _is_there(file, beside):
            return file
        file.close()


def _lock(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        # Some network file systems know no locks.
        return


def _is_there(file: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False
