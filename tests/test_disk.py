"""A real server on a read-only file system whose only writable places, and log, are full."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.conftest import encode, make_faces
from tests.live import ROOT, running, wait_until
from tests.test_faults import workers

KEY = {"x-api-key": "a-key-of-some-length"}
SCRIPT = """
mount --make-rprivate / && mount -t tmpfs -o size=4m none "$TMPDIR" &&
mount -t tmpfs -o size=4m none /dev/shm && mount -o remount,bind,ro / &&
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
    variables = {
        **environment,
        "EMOTION_WORKERS": "1",
        "EMOTION_API_KEYS": KEY["x-api-key"],
        "EMOTION_RATE_LIMIT": "100",
        "TMPDIR": str(small),
    }
    photo = (ROOT / "examples" / "photo.jpg").read_bytes()
    face = encode(make_faces(1).images[0])

    def ask(address: str) -> set[int]:
        answers = [
            client.post(f"{address}/predict", files={"image": face}),
            # Over a megabyte, which Starlette alone would keep in a temporary file.
            client.post(f"{address}/predict_batch", files=[("images", photo)] * 30),
            client.post(f"{address}/predict?faces=auto", files={"image": photo}),
            client.post(f"{address}/explain", files={"image": face}),
            client.get(f"{address}/metrics"),
            client.get(f"{address}/readyz"),
        ]
        return {answer.status_code for answer in answers}

    def count(address: str) -> str:
        found = re.search(
            r'requests_total{route="/explain",status="200"} (\S+)',
            client.get(f"{address}/metrics").text,
        )
        return found[1] if found else "0"

    within = (*UNSHARE, "sh", "-ec", SCRIPT, "sh")
    client = httpx.Client(timeout=60, headers=KEY)
    with client, running(variables, within=within) as (address, process):
        for folder in (small, "/dev/shm"):
            fill(Path(f"/proc/{process.pid}/root{folder}"))
        assert ask(address) == {200}
        assert count(address) == "1.0"
        killed = workers(process.pid)
        os.kill(killed[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers(process.pid)) - set(killed)) == 1, 60)
        wait_until(lambda: ready(address), 60)
        # Its own metrics have no room, and go uncounted.
        assert ask(address) == {200}
        assert count(address) == "1.0"


def ready(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{address}/readyz", timeout=60).status_code == 200
    return False
