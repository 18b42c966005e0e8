"""The metrics of a server's workers, in a folder that they share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.server import exposition
from tests.live import ROOT

COUNTER = """
import os, sys
from pathlib import Path
from service.server import exposition

def sizes():
    files = Path(sys.argv[1]).glob("*.db")
    return {file.name: (file.stat().st_size, 512 * file.stat().st_blocks) for file in files}

def refuse(*_):
    raise OSError("no room")

if sys.argv[2] == "full":
    os.posix_fallocate = refuse
exposition.share_metrics()
before = sizes()

from service import metrics
from service.errors import REFUSALS
from service.labels import LABELS
from service.routes.application import make_routes

for route in [route.path for route in make_routes()] + ["other"]:
    metrics.REQUEST_SECONDS.labels(route).observe(1)
    for status in (200, 206, 304, *REFUSALS):
        metrics.REQUESTS.labels(route, status).inc()
for code in [code for refusal in REFUSALS.values() for code in refusal.codes]:
    metrics.REJECTIONS.labels(code).inc()
for label in LABELS:
    metrics.PREDICTIONS.labels(label).inc()
metrics.DEVICE_MEMORY.labels("cuda:0").set(1)
for number in range(100):
    metrics.show_model(f"facial-emotion:{number:012}")
assert sizes() == before
assert all(taken >= size for size, taken in before.values())
print(len(before), len(exposition.expose().splitlines()))
"""


@pytest.mark.parametrize("disk", ["free", "full"])
def test_nothing_counted_needs_more_room_than_there_was_at_the_start(
    tmp_path: Path, disk: str
) -> None:
    variables = os.environ | {"FACIAL_EMOTION_FOLDER": str(tmp_path)}
    command = [sys.executable, "-c", COUNTER, str(tmp_path), disk]
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files, lines = (int(count) for count in done.stdout.split())
    if disk == "free":
        assert files == 3 and lines > 100
    else:
        assert (files, lines) == (0, 0)
        assert "no room" in done.stderr
        assert not list(tmp_path.iterdir())


def test_a_dead_workers_files_may_be_removed_by_another_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "gauge_livesum_1.db"
    left.touch()
    remove = os.remove

    def come_too_late(path: Path) -> None:
        remove(path)
        raise FileNotFoundError(path)

    monkeypatch.setenv("FACIAL_EMOTION_FOLDER", str(tmp_path))
    monkeypatch.setattr(exposition, "_has_ended", lambda _: True)
    for name in ("remove", "unlink"):
        monkeypatch.setattr(os, name, come_too_late)
    assert exposition.expose() == b""
