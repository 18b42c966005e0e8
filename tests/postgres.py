"""A PostgreSQL server of the tests' own, on a Unix socket."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(iter(folders), None)


@contextmanager
def postgres() -> Iterator[str]:
    """A fresh server; yields the storage URL of its database."""
    binaries = find_binaries()
    assert binaries
    # Not in pytest's folder: no other user may enter that, and PostgreSQL refuses root.
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), "postgres" if os.geteuid() == 0 else None
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        command = [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "search",
            "-A",
            "trust",
            "--no-sync",
        ]
        subprocess.run(command, user=user, cwd="/", check=True, capture_output=True)
        command = [str(binaries / "postgres"), "-D", str(data), "-k", name, "-h", "", "-F"]
        with subprocess.Popen(command, user=user, cwd="/", stderr=subprocess.DEVNULL) as server:
            try:
                while not list(folder.glob(".s.PGSQL.*")):
                    assert server.poll() is None
                    time.sleep(0.1)
                yield f"postgresql+psycopg2://search@/postgres?host={folder}"
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(30)
