"""A retrain that is killed or told to stop, as a process, ends with the weights of a whole one."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import make_faces, write_folder
from tests.live import ROOT

COMMAND = [sys.executable, "-m", "search", "retrain", "--network", "compact", "--recipe", "modern"]


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, "--epochs", "3", "--device", "cpu", "--data", str(data), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(data: Path, out: Path) -> bytes:
    process = start(data, out)
    words, _ = process.communicate()
    assert process.returncode == 0, words
    return (out / "artifact" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    write_folder(folder, "train", make_faces(420))
    write_folder(folder, "validation", make_faces(35, seed=1))
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return finish(data, tmp_path_factory.mktemp("whole"))


RAISED_IN_EXEC = """
import os, signal
from search.stop import raise_on_signals

raise_on_signals()
try:
    exec("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
except KeyboardInterrupt:
    raise SystemExit(130)
"""


def test_ctrl_c_within_exec_keeps_the_exit_status(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(RAISED_IN_EXEC)
    command = [sys.executable, "-m", "interrupted"]
    variables = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    assert subprocess.run(command, env=variables, check=False).returncode == 130


LOSE = """
import os, signal, time, weakref
from search.stop import raise_again, raise_on_signals

class Thing: ...

def lose(_):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)

raise_on_signals()
thing = Thing()
reference = weakref.ref(thing, lose)
raise_again()
del thing
try:
    raise_again()
except KeyboardInterrupt as error:
    print(error.signal)
"""


def test_a_signal_that_python_drops_is_raised_again() -> None:
    done = subprocess.run([sys.executable, "-c", LOSE], capture_output=True, text=True, check=True)
    assert "Exception ignored" in done.stderr
    assert done.stdout == "15\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_resumes_to_the_same_weights(
    data: Path, whole: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "stopped"
    process = start(data, out)
    while not (out / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    words, _ = process.communicate(timeout=60)
    expected = -9 if number == signal.SIGKILL else 128 + number
    assert process.returncode == expected, words
    assert finish(data, out) == whole


CLOSED = """
import sys
from search.commands import dispatch
from search.stop import catch_stop
from tests.test_main import end_with

def wait(_):
    print("waits", flush=True)
    with catch_stop() as wish:
        while not wish:
            pass
    raise wish.error()

sys.exit(end_with(dispatch, wait, resumes=True))
"""


def test_a_closed_terminal_ends_a_command_by_its_signal() -> None:
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", CLOSED])
    told = b""
    while b"waits" not in told:
        told += os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
