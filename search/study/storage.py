"""The study database: opened, and a mistyped path or URL told from a missing one."""

import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from search.config import DEFAULT_STORAGE
from search.errors import StudyError
from search.study.silence import GRACE, vigil

# Heartbeats are experimental in Optuna, and each process of a search would say so.
warnings.simplefilter("ignore", ExperimentalWarning)

STORAGE_ERRORS: Final = (StorageInternalError, SQLAlchemyError)
"""What a storage raises that is gone, full or locked for too long."""

SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""What begins a URL; a path that begins so is more likely a URL gone wrong."""

PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds between attempts to reach a server that was reached before, as while it is restarted."""

LOG: Final = logging.getLogger(__name__)

SQLITE: Final = "sqlite:///"


def connect(storage: str, heartbeat: int = 10, create: bool = True) -> RDBStorage:
    """Open a storage.

    Args:
        storage: a database URL, or a path for SQLite; only the default path's folder is made.
        heartbeat: seconds between signs of life of a running trial; after `GRACE` times that
            without one it counts as dead.
        create: make an SQLite file that is not there.

    Raises:
        StudyError: it is not there, cannot be reached, or is neither a URL nor a path.
    """
    url = find_url(storage, create)
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 60}
    try:
        found = RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=heartbeat,
            grace_period=GRACE * heartbeat,
        )
        if not url.startswith("sqlite"):
            event.listen(found.engine, "do_connect", Patience())
        return found
    # SQLAlchemy raises ValueError for a port that is no number.
    except (*STORAGE_ERRORS, RuntimeError, ValueError) as error:
        raise StudyError(f"storage cannot be reached: {_first_line(error)}") from None
    except ImportError as error:
        # SQLAlchemy's own default for postgresql:// is psycopg2.
        known = re.match(r"postgresql(\+psycopg2)?://", url)
        hint = "install the extra postgres" if known else str(error.__cause__ or error)
        raise StudyError(f"the storage's driver is not installed: {hint}") from None


def find_url(storage: str, create: bool) -> str:
    """The URL of a storage given as URL or path.

    Raises:
        StudyError: it is neither, its folder is not there, or its file and it is not to be made.
    """
    if "://" in storage:
        url = storage
    elif SCHEME.match(storage) or not storage:
        words = "is neither a URL such as postgresql+psycopg2://host/name nor a path"
        raise StudyError(f"storage {storage!r} {words}; a path may begin with ./")
    else:
        url = SQLITE + storage
    file = find_file(storage)
    if file is None:
        return url
    if not create and not file.exists():
        raise StudyError(f"there is no database {file}")
    if file.parent == Path(DEFAULT_STORAGE).parent:
        file.parent.mkdir(exist_ok=True)
    if not file.parent.is_dir():
        raise StudyError(f"storage {storage}: there is no folder {file.parent}")
    return url


def find_file(storage: str) -> Path | None:
    """The file of an SQLite storage given as URL or path; None for other databases."""
    if "://" in storage and not storage.startswith(SQLITE):
        return None
    return Path(storage.removeprefix(SQLITE).partition("?")[0])


class Patience:
    """Waits for a server that does not answer, as each call to the storage needs a connection.

    Once, until it answers again: what comes after a lost storage is not to take minutes.
    """

    def __init__(self) -> None:
        self._pauses = iter(PAUSES)

    def __call__(
        self, dialect: Dialect, _: ConnectionPoolEntry, address: list[Any], options: dict[str, Any]
    ) -> DBAPIConnection:
        """Connect, as SQLAlchemy's event `do_connect` asks for."""
        while True:
            try:
                found = dialect.connect(*address, **options)
            except dialect.loaded_dbapi.OperationalError:
                pause = next(self._pauses, None)
                if pause is None:
                    raise
                LOG.warning("the storage does not answer; tries again in %.0f s", pause)
                time.sleep(pause)
                # Nobody's sign of life could be recorded meanwhile.
                vigil().startle()
            else:
                self._pauses = iter(PAUSES)
                return found


@contextmanager
def lost_storage_told() -> Iterator[None]:
    """Within, a storage that fails ends the command with one line.

    Raises:
        StudyError: it failed; the message says how.
    """
    try:
        yield
    except STORAGE_ERRORS as error:
        words = "finished trials are kept in it; run the same command again"
        raise StudyError(f"the storage was lost: {_first_line(error)}; {words}") from None


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().split("\n")[0]
