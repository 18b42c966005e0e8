import subprocess
import sys

PAGES = """
import resource, sys, torch
from search.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def work():
    torch.ones(20_000_000)
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(word: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PAGES, word], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_memory_is_used_again() -> None:
    assert count_page_faults("kept") < 100 < count_page_faults("returned")
