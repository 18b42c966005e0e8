"""A real server under attack and with its processes killed."""

import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.conftest import encode, make_faces
from tests.live import ROOT, free_port, running, serve_command, status, wait_until

pytestmark = pytest.mark.slow
FACE = encode(make_faces(1).images[0])


def workers(parent: int) -> list[int]:
    """The living workers' pids."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"worker.service" in read(pid, "cmdline")]


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(read(pid, "statm").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def read(pid: int | str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except FileNotFoundError:
        return b"0 0"


def read_metric(address: str, name: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A server as in a generated image, with short limits: address and pid."""
    variables = {
        **environment,
        "BENTOML_CONTAINERIZED": "True",
        "EMOTION_WORKERS": "2",
        "EMOTION_BODY_SECONDS": "1",
        "EMOTION_ANSWER_SECONDS": "3",
    }
    with running(variables) as (address, process):
        yield address, process.pid


def test_who_sends_too_much_can_read_why(server: tuple[str, int]) -> None:
    host, port = server[0].removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    # It reads no answer before all of its body is sent, as most clients do.
    for _ in range(2):
        connection.request("POST", "/predict", bytes(40 * 2**20), {"Content-Type": "image/png"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert b"body_too_large" in answer.read()
    connection.close()


def test_a_stalled_body_gets_408(server: tuple[str, int]) -> None:
    host, port = server[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(10)
        head = (
            "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9999"
        )
        connection.sendall(f"{head}\r\n\r\nabc".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'{"error":{"code":"request_timeout"' in answer


def test_a_batch_of_bombs_is_refused_in_time_and_memory(server: tuple[str, int]) -> None:
    # As large as one may be, and together too much.
    bomb = encode(Image.new("RGBA", (5000, 5000)))
    most = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(*most, *map(resident, workers(server[1])))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    answer = httpx.post(f"{server[0]}/predict_batch", files=[("images", bomb)] * 36, timeout=60)
    seconds = time.monotonic() - begun
    done.set()
    watcher.join()
    found = answer.json()
    # On a slow machine some are decoded before the time is over, and answered.
    refused = [
        item["error"]["code"] for item in (found, *found.get("results", ())) if "error" in item
    ]
    assert set(refused) in ({"too_many_pixels"}, {"deadline_exceeded"})
    assert seconds < 10
    # 25 megapixels of PNG take up to 13 bytes each, one image at a time.
    assert most[0] < 1.5e9


def test_a_request_for_a_websocket_is_answered_and_counted(server: tuple[str, int]) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = httpx.get(f"{server[0]}/predict", headers=headers)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["x-request-id"]
    assert 'emotion_requests_total{route="/predict",status="405"} 1.0' in (
        httpx.get(f"{server[0]}/metrics").text
    )


def test_unknown_paths_do_not_grow_the_metrics(server: tuple[str, int]) -> None:
    httpx.get(f"{server[0]}/nowhere")
    before = len(httpx.get(f"{server[0]}/metrics").text.splitlines())
    for number in range(100):
        httpx.get(f"{server[0]}/nowhere/{number}")
    after = len(httpx.get(f"{server[0]}/metrics").text.splitlines())
    # The second worker may show its first request of a kind.
    assert after - before < 60


def test_two_servers_of_one_home_keep_their_metrics(
    server: tuple[str, int], environment: dict[str, str]
) -> None:
    def predictions(address: str) -> bool:
        return "emotion_predictions_total{" in httpx.get(f"{address}/metrics").text

    httpx.post(f"{server[0]}/predict", files={"image": FACE}, timeout=20)
    assert predictions(server[0])
    with running({**environment, "EMOTION_WORKERS": "1"}) as (address, _):
        assert predictions(server[0])
        assert not predictions(address)


def test_slow_and_large_heads_end_their_connections(environment: dict[str, str]) -> None:
    limits = {"EMOTION_HEAD_SECONDS": "1", "EMOTION_MAX_HEAD_BYTES": "4096"}
    with running({**environment, **limits, "EMOTION_WORKERS": "1"}) as (address, _):
        large = httpx.get(f"{address}/livez", headers={"X-A": "y" * 5000})
        assert (large.status_code, large.json()["error"]["code"]) == (431, "head_too_large")
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            slow.sendall(b"GET /livez HTTP/1.1\r\n")
            assert slow.recv(1) == b""


def test_a_killed_worker_comes_back(server: tuple[str, int]) -> None:
    address, pid = server
    first = set(workers(pid))
    assert len(first) == 2
    # No test before this one may have ended a worker.
    assert read_metric(address, "emotion_worker_restarts_total") == 0
    os.kill(min(first), signal.SIGKILL)
    assert status(f"{address}/livez") == 200
    # Before its parent has looked after it.
    wait_until(lambda: read_metric(address, "emotion_ready") == 1, 2)
    wait_until(lambda: len(set(workers(pid)) - first) == 1, 60)
    wait_until(lambda: read_metric(address, "emotion_worker_restarts_total") == 1, 60)
    wait_until(lambda: read_metric(address, "emotion_ready") == 2, 60)


def test_workers_leave_with_a_killed_parent(environment: dict[str, str]) -> None:
    with running({**environment, "EMOTION_WORKERS": "1"}) as (address, process):
        found = workers(process.pid)
        assert len(found) == 1
        process.kill()
        process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found), 30)
        assert status(f"{address}/livez") == 0


def test_sigterm_loses_no_accepted_request(environment: dict[str, str]) -> None:
    variables = {**environment, "EMOTION_WORKERS": "1", "EMOTION_DRAIN_SECONDS": "2"}
    outcomes: list[int | str] = []
    ready: list[tuple[float, int]] = []

    def load(address: str) -> None:
        while True:
            try:
                with httpx.Client(timeout=20) as client:
                    for _ in range(20):
                        answer = client.post(f"{address}/predict", files={"image": FACE})
                        outcomes.append(answer.status_code)
                        if answer.headers.get("connection") == "close":
                            break
            except httpx.ConnectError:
                return
            except httpx.TransportError as error:
                outcomes.append(repr(error))
            if status(f"{address}/readyz") != 200:
                return

    with running(variables) as (address, process):
        threads = [threading.Thread(target=load, args=(address,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        while time.monotonic() - begun < 1.5:
            ready.append((time.monotonic() - begun, status(f"{address}/readyz")))
        process.wait(20)
        left = time.monotonic() - begun
        for thread in threads:
            thread.join()
    assert ready[-1][1] == 503
    assert len(outcomes) > 20
    assert set(outcomes) == {200}
    assert 2 <= left < 10


def catches_sigterm(pid: int) -> bool:
    caught = int(re.findall(rb"SigCgt:\s*(\w+)", read(pid, "status"))[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("prefix", [(), ("nohup",)])
def test_a_closed_terminal_ends_the_server_unless_told_otherwise(
    environment: dict[str, str], prefix: tuple[str, ...]
) -> None:
    with running(environment, within=prefix) as (address, process):
        process.send_signal(signal.SIGHUP)
        if prefix:
            time.sleep(3)
            assert status(f"{address}/readyz") == 200
        else:
            assert process.wait(40) == 0


def test_sigterm_at_the_start_is_heeded(environment: dict[str, str]) -> None:
    command = [sys.executable, *serve_command(free_port())]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            # As early as it is not the end of the process of itself: the workers are being started.
            while not catches_sigterm(process.pid):
                assert process.poll() is None
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_client_that_never_reads_does_not_keep_the_server(environment: dict[str, str]) -> None:
    variables = {
        **environment,
        "EMOTION_WORKERS": "1",
        "EMOTION_DRAIN_SECONDS": "0",
        "EMOTION_GRACE_SECONDS": "3",
        "EMOTION_HEAD_SECONDS": "60",
    }
    asking = b"GET /static_content/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    with running(variables) as (address, process), socket.socket() as connection:
        host, port = address.removeprefix("http://").split(":")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.setblocking(False)
        # Until both sockets are full of answers, and the server reads no more requests.
        until = time.monotonic() + 30
        while time.monotonic() < until and select.select([], [connection], [], 3)[1]:
            sent = connection.send(asking)
            asking = asking[sent:] + asking[:sent]
        assert time.monotonic() < until
        assert status(f"{address}/readyz") == 200
        answer = httpx.post(f"{address}/predict", files={"image": FACE}, timeout=20)
        assert answer.status_code == 200
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - begun < 8


def test_a_client_that_never_finishes_sending_does_not_keep_the_server(
    environment: dict[str, str],
) -> None:
    variables = {
        **environment,
        "EMOTION_WORKERS": "1",
        "EMOTION_DRAIN_SECONDS": "0",
        "EMOTION_GRACE_SECONDS": "3",
        "EMOTION_BODY_SECONDS": "60",
    }
    with running(variables) as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png"
            connection.sendall(f"{head}\r\nContent-Length: 9999\r\n\r\nabc".encode())
            time.sleep(0.5)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            assert 2 < time.monotonic() - begun < 8


def test_the_workers_folder_is_removed(environment: dict[str, str]) -> None:
    with running({**environment, "EMOTION_WORKERS": "1"}) as (_, process):
        (worker,) = workers(process.pid)
        variables = dict(
            variable.partition("=")[::2]
            for variable in read(worker, "environ").decode().split("\0")
        )
        folder = Path(variables["FACIAL_EMOTION_FOLDER"])
        assert any(folder.iterdir())
    assert not folder.exists()
