import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import claim as module
from search.claim import claim


def test_one_at_a_time_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with claim(path) as first:
        with claim(path) as second:
            assert (first, second) == (True, False)
        with claim(path) as again:
            assert not again
    with claim(path) as free:
        assert free
    assert not list(tmp_path.iterdir())


def test_a_killed_process_has_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import sys, time; from pathlib import Path; from search.claim import claim\n"
        "with claim(Path(sys.argv[1])) as mine: print(mine, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "True\n"
        with claim(path) as mine:
            assert not mine
        process.kill()
    time.sleep(0.1)
    assert path.exists()
    with claim(path) as mine:
        assert mine


def test_a_file_removed_by_its_last_holder_is_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.lock"
    lock = module._lock

    def late(file: int) -> bool:
        path.unlink()
        return lock(file)

    monkeypatch.setattr(module, "_lock", late)
    with claim(path) as mine:
        assert not mine


def test_a_disk_without_locks_lets_work_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with claim(tmp_path / "a.lock") as mine:
        assert mine
