import json
import os
import subprocess
import sys
import time

import pytest

from service.server.log_writer import MAX_LINES
from tests.live import ROOT

START = """
import logging, os, signal, sys
from service import metrics
from service.log import LOG, NOISE, configure_log, flush_log, set_log_level
from service.server.log_writer import LogWriter
configure_log(LogWriter(1))
set_log_level("info")
"""

WARNING = """
for text in (*NOISE, "the event loop is late"):
    logging.getLogger("uvicorn.error").warning(text)
"""

MANY = """
for number in range(int(sys.argv[1])):
    LOG.info("%d", number)
"""

KILLED = """
flush_log()
os.kill(os.getpid(), signal.SIGKILL)
"""

DROPPED = """
print(metrics.LOG_DROPPED._value.get(), file=sys.stderr)
"""


def run(code: str, *arguments: str, status: int = 0) -> list[str]:
    """The messages that some code logs."""
    command = [sys.executable, "-c", START + code, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status
    return [json.loads(line)["message"] for line in done.stdout.splitlines()]


def test_what_clients_do_wrong_is_no_warning() -> None:
    assert run(WARNING) == ["the event loop is late"]


@pytest.mark.parametrize(("end", "status"), [("", 0), ("1 / 0", 1), (KILLED, -9)])
def test_all_lines_come_in_order_however_the_process_ends(end: str, status: int) -> None:
    assert run(MANY + end, "5000", status=status) == [str(number) for number in range(5000)]


def test_a_reader_that_stalls_stops_neither_the_work_nor_the_exit() -> None:
    count = 2 * MAX_LINES
    command = [sys.executable, "-c", START + MANY + DROPPED, str(count)]
    reading, writing = os.pipe()
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=True
    )
    assert time.monotonic() - begun < 30
    os.close(writing)
    lines = os.read(reading, 1 << 20).splitlines()
    os.close(reading)
    assert [json.loads(line)["message"] for line in lines[:-1]] == [
        str(number) for number in range(len(lines) - 1)
    ]
    # What the pipe and the thread hold left the queue.
    assert 0 < float(done.stderr) < count - MAX_LINES


def test_lines_of_two_workers_are_not_torn() -> None:
    code = f"{START}{MANY}print(file=sys.stderr, flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", code, "8000"]
    reading, writing = os.pipe()
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=writing, stderr=pipe)
        for _ in range(2)
    ]
    os.close(writing)
    for worker in workers:
        # It has logged all, more than the pipe holds.
        assert worker.stdin and worker.stderr and worker.stderr.readline()
        worker.stdin.close()
        worker.stderr.close()
    # In pieces as large as the pipe, so that both find room.
    with os.fdopen(reading, buffering=1 << 16) as log:
        lines = [json.loads(line)["message"] for line in log.read().splitlines()]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(lines) == 16000


def test_lines_that_a_full_disk_takes_no_more_are_counted() -> None:
    code = START.replace("LogWriter(1)", "LogWriter(os.open('/dev/full', os.O_WRONLY))")
    command = [sys.executable, "-c", code + MANY + "flush_log()" + DROPPED, "50"]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, check=True)
    assert float(done.stderr) == 50
