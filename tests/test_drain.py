"""SIGTERM in whatever a worker is doing; in processes of their own, which could hang."""

import subprocess
import sys

START = """
import asyncio, logging, os, signal, sys, time
from service import metrics
from service.server.drain import drain_on_sigterm
from service.server.health import Health

logging.basicConfig()

async def main(grace, work):
    ended = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    health = Health()
    drain_on_sigterm(health, 0.01, grace)
    work()
    assert health.draining
    await asyncio.wait_for(ended.wait(), 10)
"""

COUNTING = """
def work():
    with metrics.READY._value._lock:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

asyncio.run(main(30, work))
"""

HANGING = """
def work():
    with logging.getLogger().handlers[0].lock:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

asyncio.run(main(0.1, work))
"""


def run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", START + code], timeout=30, check=False).returncode


def test_sigterm_while_a_metric_counts() -> None:
    assert run(COUNTING) == 0


def test_a_worker_leaves_though_it_hangs_within_the_log() -> None:
    assert run(HANGING) == 1
