import subprocess
import sys

import pytest
import torch

from search.training.memory import is_out_of_memory

SCRIPT = """
import resource, sys, torch
from search.training.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
layers = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 3), torch.nn.Conv2d(64, 64, 3))
faces = torch.rand(128, 1, 48, 48)
def step():
    layers(faces).sum().backward()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(word: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, word], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_step_uses_the_memory_of_the_one_before() -> None:
    assert count_page_faults("kept") < 0.3 * count_page_faults("returned")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_memory_that_ran_out_is_known_by_its_error(error: BaseException) -> None:
    assert is_out_of_memory(error)


def test_this_machines_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_it() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
