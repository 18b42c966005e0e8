"""One table, one command: a second one is refused and changes nothing."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from facial_emotion_client import lock
from facial_emotion_client.__main__ import main
from facial_emotion_client.folder import label_folder
from facial_emotion_client.results import Faces, Prediction, Result
from facial_emotion_client.table import TableError

from tests.live import ROOT, free_port

FACE = Prediction("happy", 0.5, True, {"happy": 0.5}, "m:1")


def test_a_command_is_refused_while_another_one_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.csv"
    out.write_text("its rows")
    arguments = [str(ROOT / "examples"), "--out", str(out), "--patience", "0"]
    arguments += ["--url", f"http://127.0.0.1:{free_port()}"]
    with lock.alone(out):
        assert main(arguments) == 1
        complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: {out} is being written by another command; wait")
    assert complaint.count("\n") == 1
    assert out.read_text() == "its rows"
    assert list(tmp_path.iterdir()) == [out]
    assert main(arguments) == 1
    assert "holds something else" in capsys.readouterr().err


class Twice:
    """Stands for a client; while it answers, the same folder is to be labelled once more."""

    def __init__(self, out: Path) -> None:
        self.out, self.refused = out, 0

    async def model(self) -> str:
        return "m:1"

    async def predict_many(self, images: Iterable[Path], **_: Any) -> AsyncIterator[Result]:
        for _image in images:
            with pytest.raises(TableError, match="by another command"):
                await label_folder(self, ROOT / "examples", self.out)  # type: ignore[arg-type]
            self.refused += 1
            yield Faces([FACE])


@pytest.mark.parametrize("begun", [True, False])
def test_all_rows_of_the_first_command_are_in_the_table(tmp_path: Path, begun: bool) -> None:
    out = tmp_path / "labels.csv"
    if begun:
        out.touch()
    client: Any = Twice(out)
    tally = asyncio.run(label_folder(client, ROOT / "examples", out, quiet=True))
    assert (tally.labelled, client.refused) == (2, 2)
    assert out.read_text().count("happy,0.5") == 2
    assert list(tmp_path.iterdir()) == [out]


def test_a_killed_command_holds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    text = f"""
import os, pathlib, signal
from facial_emotion_client.lock import alone
with alone(pathlib.Path({str(out)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", text], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / ".labels.csv.lock").exists()
    with lock.alone(out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its holder ends between the opening and the locking."""
    out, beside, real = tmp_path / "labels.csv", tmp_path / ".labels.csv.lock", lock._lock
    ends = iter([True])

    def end(file: Any) -> None:
        if next(ends, False):
            beside.unlink()
        real(file)

    monkeypatch.setattr(lock, "_lock", end)
    with lock.alone(out), pytest.raises(TableError), lock.alone(out):
        pass


@pytest.mark.parametrize("lacks", ["module", "support"])
def test_where_there_are_no_locks_it_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    if lacks == "module":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(lock.fcntl, "flock", flock)
    with lock.alone(tmp_path / "labels.csv"), lock.alone(tmp_path / "labels.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "labels.csv"
    assert main([str(ROOT / "examples"), "--out", str(out)]) == 1
    assert f"there is no folder {out.parent}" in capsys.readouterr().err
