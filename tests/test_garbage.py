import subprocess
import sys

SCRIPT = """
import gc, time, torch
from service.garbage import spare_what_is_loaded

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


def test_collections_leave_out_what_was_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.2
