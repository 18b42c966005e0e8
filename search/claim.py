"""Work that one process at a time does, wherever others that would do it were started."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a file's lock, which also ends with the process; whether it was free.

    Args:
        path: made where it is missing, and removed in the end.

    Raises:
        OSError: the file cannot be made.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        free = _lock(file) and _stands(path, file)
        try:
            yield free
        finally:
            if free:
                path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: work goes on as if nobody else were there.
        return True
    return True


def _stands(path: Path, file: int) -> bool:
    """Whether the file is not one that its last holder removed before it was locked here."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
