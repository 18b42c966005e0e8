"""Folders of metrics, each taken by a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service import exposition
from tests.live import ROOT

VARIABLE = "FACIAL_EMOTION_METRICS"
SERVER = f"""
import os, sys, time
from service import exposition

exposition._MEMORY = sys.argv[1]
exposition.share_metrics()
print(os.environ["{VARIABLE}"], flush=True)
time.sleep(60)
"""
COUNTER = """
import os, sys
from pathlib import Path
from service import exposition

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
from service.routes import make_routes

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
Start = Callable[..., tuple[Path, "subprocess.Popen[str]"]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server, or a worker of the one whose folder is named; its folder and its process."""
    with ExitStack() as stack:

        def run(folder: Path | None = None) -> tuple[Path, "subprocess.Popen[str]"]:
            variables = os.environ | ({VARIABLE: str(folder)} if folder else {})
            command = [sys.executable, "-c", SERVER, str(tmp_path)]
            process = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
            assert process.stdout
            stack.callback(process.stdout.close)
            return Path(process.stdout.readline().strip()), process

        yield run


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(10)


def test_what_a_killed_server_left_is_removed_by_the_next(start: Start) -> None:
    left, killed = start()
    (left / "counter_1.db").touch()
    kept, _ = start()
    kill(killed)
    assert left.is_dir()
    taken, _ = start()
    assert not left.exists()
    assert kept.is_dir() and taken.is_dir() and kept != taken


def test_a_worker_keeps_the_folder_of_a_killed_parent(start: Start) -> None:
    folder, parent = start()
    _, worker = start(folder)
    kill(parent)
    start()
    assert folder.is_dir()
    kill(worker)
    start()
    assert not folder.exists()


def test_what_is_not_ours_stays(start: Start, tmp_path: Path) -> None:
    foreign, linked = tmp_path / "emotion-metrics", tmp_path / "elsewhere"
    foreign.mkdir()
    linked.mkdir()
    (tmp_path / "emotion-metrics-link").symlink_to(linked)
    start()
    assert foreign.is_dir() and linked.is_dir()


@pytest.mark.parametrize("disk", ["free", "full"])
def test_nothing_counted_needs_more_room_than_there_was_at_the_start(
    tmp_path: Path, disk: str
) -> None:
    variables = os.environ | {VARIABLE: str(tmp_path), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COUNTER, str(tmp_path), disk]
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files, lines = (int(count) for count in done.stdout.split())
    if disk == "free":
        assert files == 4 and lines > 100
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

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(exposition, "_has_ended", lambda _: True)
    for name in ("remove", "unlink"):
        monkeypatch.setattr(os, name, come_too_late)
    assert exposition.expose() == b""
