"""Folders of servers, each taken by a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.server import shared_folder
from tests.live import ROOT

VARIABLE = "FACIAL_EMOTION_FOLDER"
SERVER = f"""
import os, sys, time
from service.server import shared_folder

shared_folder._MEMORY = sys.argv[1]
shared_folder.take_folder()
print(os.environ["{VARIABLE}"], flush=True)
time.sleep(60)
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


@pytest.mark.parametrize(
    ("user", "managed", "kept"),
    [(0, True, True), (999, True, True), (1000, True, False), (10001, False, True)],
)
def test_a_logout_removes_nothing(
    user: int, managed: bool, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, systemd = tmp_path / "memory", tmp_path / "systemd"
    memory.mkdir()
    if managed:
        systemd.mkdir()
    monkeypatch.setattr(shared_folder, "_MEMORY", str(memory))
    monkeypatch.setattr(shared_folder, "_SYSTEMD", str(systemd))
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert shared_folder.find_place() == (memory if kept else Path(tempfile.gettempdir()))


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
    foreign, linked = tmp_path / "emotion-workers", tmp_path / "elsewhere"
    foreign.mkdir()
    linked.mkdir()
    (tmp_path / "emotion-workers-link").symlink_to(linked)
    start()
    assert foreign.is_dir() and linked.is_dir()
