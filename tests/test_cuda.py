"""What can be tested without a GPU: torch.cuda's graphs are replaced by calls that run again."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.artifact import load_artifact
from service.inference import cuda
from service.inference.cuda import CudaNetwork, Recorded, full_float32, pick_sizes, round_blocks
from service.inference.predictor import Predictor, fold_norms
from service.inference.rounding import is_close
from service.network import build_network
from tests.conftest import TINY, make_faces
from tests.test_artifact import SHIPPED

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fake_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording runs on the CPU; replaying leaves the answers as they were recorded."""

    @contextmanager
    def graph(*_: object, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        yield

    class Graph:
        def replay(self) -> None: ...

    class Stream:
        def synchronize(self) -> None: ...

    zeros = torch.zeros

    def unpinned(*shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        return zeros(*shape, **options)

    monkeypatch.setattr(torch, "zeros", unpinned)
    monkeypatch.setattr(cuda, "pick_precision", lambda _: torch.bfloat16)
    for name, value in {
        "graph": graph,
        "CUDAGraph": Graph,
        "Stream": lambda _: Stream(),
        "stream": lambda _: nullcontext(),
        "graph_pool_handle": lambda: (0, 1),
        "synchronize": lambda _: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


def brightness(images: Tensor) -> Tensor:
    """Rows that tell the image and the size of its batch."""
    rows = torch.zeros(len(images), 7)
    rows[:, 0], rows[:, 1] = images[:, 0, 0, 0], len(images)
    return rows


def images_of(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 48, 48)


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (64, [1, 2, 4, 8, 16, 32, 64])],
)
def test_powers_of_two_and_the_largest_batch_are_recorded(largest: int, sizes: list[int]) -> None:
    assert pick_sizes(largest) == sizes


def test_a_batch_is_filled_up_to_the_next_recorded_size() -> None:
    recorded = Recorded(brightness, CPU, 8)
    recorded._images[:] = images_of(*range(8))
    for size in (8, 4):
        recorded.record(size)
    assert recorded.sizes == (4, 8)
    for count, size in ((1, 4), (3, 4), (4, 4), (5, 8)):
        rows = recorded(images_of(*range(count)))
        assert rows[:, 0].tolist() == list(range(count))
        assert rows[:, 1].tolist() == [size] * count


def test_what_is_sent_are_the_images_asked_for() -> None:
    recorded = Recorded(brightness, CPU, 4)
    recorded.record(4)
    recorded(images_of(7, 9))
    assert recorded._images[:2, 0, 0, 0].tolist() == [7, 9]


def test_sizes_that_do_not_fit_run_kernel_by_kernel() -> None:
    def forward(images: Tensor) -> Tensor:
        if len(images) == 8:
            raise torch.OutOfMemoryError
        return brightness(images)

    recorded = Recorded(forward, CPU, 8)
    for size in (8, 4):
        recorded.record(size)
    assert recorded.sizes == (4,)
    assert recorded(images_of(1, 2, 3, 4, 5))[:, 1].tolist() == [5] * 5
    with pytest.raises(torch.OutOfMemoryError):
        recorded(images_of(*range(8)))


def test_nothing_recorded_still_answers() -> None:
    assert Recorded(brightness, CPU, 8)(images_of(5, 6))[:, :2].tolist() == [[5, 2], [6, 2]]


@pytest.mark.parametrize("trusted", [True, False])
def test_float32_decides_near_ties_or_all(trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_close", lambda *_: trusted)
    predictor = Predictor(load_artifact(SHIPPED), "cpu", 64)
    assert isinstance(predictor.network, nn.Module)
    found = CudaNetwork(predictor.network, predictor.answer, CPU, 64)
    faces = make_faces(140).images[:64]
    expected = torch.from_numpy(predictor.predict(faces))
    rows = found(torch.from_numpy(faces)[:, None])
    assert torch.equal(rows.argmax(1), expected.argmax(1))
    torch.testing.assert_close(rows, expected, atol=0.02 if trusted else 1e-6, rtol=0)


def test_all_sizes_of_both_precisions_are_recorded() -> None:
    network = fold_norms(build_network(TINY).eval())
    found = CudaNetwork(network, lambda forward, batch: forward(batch).softmax(1), CPU, 6)
    found.record()
    assert found.rounded
    assert found.rounded.sizes == found.exact.sizes == (1, 2, 4, 6)


def test_without_fast_bfloat16_float32_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "pick_precision", lambda _: torch.float32)
    network = fold_norms(build_network(TINY).eval())
    found = CudaNetwork(network, lambda forward, batch: forward(batch).softmax(1), CPU, 6)
    found.record()
    assert found.rounded is None
    assert found.exact.sizes == (1, 2, 4, 6)


def test_a_replaced_model_is_freed_at_once() -> None:
    predictor = Predictor(load_artifact(SHIPPED), "cpu", 4)
    assert isinstance(predictor.network, nn.Module)
    predictor.cuda = CudaNetwork(predictor.network, predictor.answer, CPU, 4)
    gone = weakref.ref(predictor.network)
    gc.disable()
    try:
        del predictor
        assert gone() is None
    finally:
        gc.enable()


def test_rounded_blocks_are_close_and_leave_the_network_as_it_was() -> None:
    network = build_network(TINY).eval()
    assert is_close(round_blocks(network), network, CPU)
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_full_float32_ends_with_what_was_set_before() -> None:
    cudnn = torch.backends.cudnn

    def state() -> list[bool]:
        return [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32]

    before = state()
    with full_float32():
        assert state() == [*before[:3], False]
    assert state() == before
