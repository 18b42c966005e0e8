"""A folder that the workers of a server share, in memory where the system allows and lets it be.

All of the server's processes hold a lock on it, so that what is left of a server that was killed
is told from a live one's, also by who cannot see its processes.
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

_VARIABLE: Final = "FACIAL_EMOTION_FOLDER"
_MEMORY: Final = "/dev/shm"
_SYSTEMD: Final = "/run/systemd/system"
"""Where systemd is the system's manager, and not in a container."""
_FIRST_PERSON: Final = 1000
"""Least number of an account that is a person's to systemd."""
_PREFIX: Final = "emotion-workers-"


def take_folder() -> bool:
    """Make the folder in BentoML's parent process, take it over in its workers.

    Returns:
        Whether this is the parent.
    """
    if folder := shared_folder():
        # It may outlive its parent, and answers until it has drained.
        _hold(folder)
        # BentoML makes a temporary folder whenever a worker starts; on a full disk none came back.
        tempfile.tempdir = str(folder)
        return False
    place = find_place()
    _remove_left(place)
    folder = _make_held(place)
    os.environ[_VARIABLE] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return True


def find_place() -> Path:
    """Where the folder is to be: in memory where it can be, and where it stays.

    systemd removes what a person's account has there when it logs out for the last time
    (`RemoveIPC` in logind.conf), also from a server that stays; not what a system's account has.
    """
    removed = os.getuid() >= _FIRST_PERSON and Path(_SYSTEMD).is_dir()
    kept = os.access(_MEMORY, os.W_OK) and not removed
    return Path(_MEMORY if kept else tempfile.gettempdir())


def shared_folder() -> Path | None:
    """The folder that the workers of this server share; None outside of a server."""
    folder = os.environ.get(_VARIABLE)
    return Path(folder) if folder else None


def allocate(path: Path, size: int) -> None:
    """Make a file that has its room for certain; one that has it stays as it is.

    In a sparse file the first write to a page on a full disk kills the process.

    Args:
        path: of the file.
        size: bytes.

    Raises:
        OSError: there is no room.
    """
    with path.open("a+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)


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
