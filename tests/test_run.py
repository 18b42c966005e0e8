"""`run` as a user starts it: what it says, and how it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from search.__main__ import main
from search.errors import StudyError
from search.study.slots import count_done
from search.study.storage import connect
from search.study.study import find_study
from tests.conftest import make_faces, write_folder
from tests.live import ROOT
from tests.postgres import find_binaries, postgres

TRIALS = 6


@pytest.fixture(scope="module")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set without a disgusted face in validation."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = tmp_path_factory.mktemp("faces")
    write_folder(folder, "train", make_faces(140))
    write_folder(folder, "validation", make_faces(35, seed=1))
    for file in (folder / "validation" / "disgust").iterdir():
        file.unlink()
    return folder


def start(
    data: Path, storage: object, *options: str, workers: int, epochs: int
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.tiny_search", "run", "--study", "s", "--device", "cpu"]
    command += ["--data", str(data), "--storage", str(storage), "--trials", str(TRIALS)]
    command += ["--workers", str(workers), "--epochs", str(epochs), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_a_trial(process: subprocess.Popen[str], storage: object) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.2)
        try:
            if count_done(find_study(connect(str(storage)), "s")[0], range(TRIALS)):
                return
        except StudyError:
            continue
    process.kill()
    pytest.fail(str(process.communicate()))


@pytest.mark.slow
def test_an_empty_class_is_told_once(faces_folder: Path, tmp_path: Path) -> None:
    options = ("--confirm", "1", "--confirm-seeds", "1")
    process = start(faces_folder, tmp_path / "s.db", *options, workers=2, epochs=1)
    words, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.count("no image of disgust") == 1
    assert f"{TRIALS}/{TRIALS} done" in words


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_status_tells_the_signal(
    faces_folder: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = start(faces_folder, tmp_path / "s.db", workers=1, epochs=1000)
    while not (tmp_path / "s.db").exists():
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, errors
    assert errors.endswith("; run the same command again to resume\n")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_removed_database_is_one_line(faces_folder: Path, tmp_path: Path, workers: int) -> None:
    process = start(faces_folder, tmp_path / "s.db", workers=workers, epochs=10)
    wait_for_a_trial(process, tmp_path / "s.db")
    (tmp_path / "s.db").unlink()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: the storage was lost: ")


@pytest.mark.slow
@pytest.mark.skipif(not find_binaries(), reason="PostgreSQL is not installed")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_server_is_one_line(faces_folder: Path, workers: int) -> None:
    with postgres() as url:
        process = start(faces_folder, url, workers=workers, epochs=10)
        wait_for_a_trial(process, url)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.count("the storage does not answer; tries again in 1 s") <= workers + 1
    assert errors.splitlines()[-1].startswith("error: the storage was lost: ")


def test_a_command_that_cannot_work_makes_no_study(
    faces_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "s.db"
    command = ["run", "--storage", str(storage), "--epochs", "1", "--trials", "1"]
    assert main([*command, "--data", str(faces_folder), "--device", "cuda:99"]) == 1
    assert main([*command, "--data", str(tmp_path / "nowhere"), "--device", "cpu"]) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error")]
    assert errors[0].startswith("error: no device cuda:99") and "nowhere" in errors[1]
    assert not storage.exists()
