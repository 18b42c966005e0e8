import platform
import subprocess
import sys

import pytest

SCRIPT = """
import gc, time, torch
from service.server.garbage import spare_what_is_loaded

def collect():
    begun = time.process_time()
    gc.collect()
    return time.process_time() - begun

collect()
before = collect()
spare_what_is_loaded()
made = [[] for _ in range(1000)]
made.append(made)
del made
assert gc.collect() >= 1000, "new garbage is not collected"
print(collect() / before)
"""

FREED = """
import os, threading
from pathlib import Path
from service.server.garbage import give_back_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def load():
    blocks = [bytes(2000) for _ in range(50_000)]
    kept.extend(blocks[::100])

kept = []
before = resident()
thread = threading.Thread(target=load)
thread.start()
thread.join()
freed = resident()
give_back_memory()
print((freed - before) / 1e6, (resident() - before) / 1e6)
"""


def run(script: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return [float(figure) for figure in done.stdout.split()]


def test_collections_leave_out_what_was_loaded() -> None:
    (share,) = run(SCRIPT)
    assert share < 0.2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_between_small_blocks_is_given_back() -> None:
    held, left = run(FREED)
    assert held > 50
    assert left < 0.3 * held
