"""A real server on a read-only file system whose only writable place, and log, are full."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import encode, make_faces
from tests.live import ROOT, running, wait_until
from tests.test_faults import workers

SCRIPT = """
mount --make-rprivate / && mount -t tmpfs -o size=4m none "$TMPDIR" && mount -o remount,bind,ro / &&
! touch "$BENTOML_HOME/x" 2>/dev/null && exec "$@" >/dev/full
"""
UNSHARE = ("unshare", "--mount")


def may_mount() -> bool:
    """Whether this process may make mounts of its own (root, or a container's)."""
    command = [*UNSHARE, "mount", "--make-rprivate", "/"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def fill(folder: Path) -> None:
    """Write until the disk is full."""
    with suppress(OSError), (folder / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="no right to mount")
def test_serving_goes_on_without_a_disk(environment: dict[str, str], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    variables = {**environment, "EMOTION_WORKERS": "1", "TMPDIR": str(small)}
    photo = (ROOT / "examples" / "photo.jpg").read_bytes()
    face = encode(make_faces(1).images[0])

    def ask(address: str) -> set[int]:
        answers = [
            httpx.post(f"{address}/predict", files={"image": face}, timeout=60),
            # Over a megabyte, which Starlette alone would keep in a temporary file.
            httpx.post(f"{address}/predict_batch", files=[("images", photo)] * 30, timeout=60),
            httpx.post(f"{address}/predict?faces=auto", files={"image": photo}, timeout=60),
            httpx.post(f"{address}/explain", files={"image": face}, timeout=60),
            httpx.get(f"{address}/metrics"),
            httpx.get(f"{address}/readyz"),
        ]
        return {answer.status_code for answer in answers}

    within = (*UNSHARE, "sh", "-ec", SCRIPT, "sh")
    with running(variables, within=within) as (address, process):
        fill(Path(f"/proc/{process.pid}/root{small}"))
        assert ask(address) == {200}
        killed = workers(process.pid)
        os.kill(killed[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers(process.pid)) - set(killed)) == 1, 60)
        wait_until(lambda: ready(address), 60)
        assert ask(address) == {200}


def ready(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}/readyz", timeout=60).status_code == 200
    return False
