"""A real BentoML server over the shipped model, started as a user starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]


def make_store(home: Path) -> dict[str, str]:
    """Environment variables of an own model store that holds the shipped model."""
    variables = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    for _ in range(2):
        done = run_tool(["-m", "search", "publish"], variables)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("facial-emotion:")
    return variables


def as_no_superuser() -> tuple[str, ...]:
    """A command that runs the one after it so that file modes hold, for the superuser, too."""
    capabilities = "-dac_override,-dac_read_search"
    bound = ("setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities)
    return bound if os.geteuid() == 0 else ()


def run_tool(
    arguments: list[str], variables: dict[str, str], within: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [*within, sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=300
    )


def serve_command(port: int, served: str = "service.app:FacialEmotion") -> list[str]:
    return ["-m", "bentoml", "serve", served, "--port", str(port)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(
    variables: dict[str, str],
    served: str = "service.app:FacialEmotion",
    folder: Path = ROOT,
    within: tuple[str, ...] = (),
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A ready server: its address and its parent process.

    Args:
        variables: its environment.
        served: what to serve.
        folder: where to start it.
        within: a command that runs the one after it.
    """
    port = free_port()
    command = [*within, sys.executable, *serve_command(port, served)]
    with subprocess.Popen(command, cwd=folder, env=variables) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: status(f"{address}/readyz") == 200)
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def status(address: str) -> int:
    """The status of a GET, or 0 without an answer."""
    try:
        return httpx.get(address, timeout=60).status_code
    except httpx.TransportError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
