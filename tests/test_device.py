from collections.abc import Iterator

import pytest
import torch

from service import device
from service.device import DeviceError, gains_by_rounding, pick_device, pick_precision, time_product


def test_auto_is_cuda_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cuda:-1", "meta", "cpu:x", "mps"])
def test_a_device_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match=name or "''"):
        pick_device(name)


CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget_timing() -> Iterator[None]:
    gains_by_rounding.cache_clear()
    yield
    gains_by_rounding.cache_clear()


@pytest.mark.parametrize("faster", [torch.float32, torch.bfloat16])
def test_a_cpu_with_bfloat16_computes_in_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, faster: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(device, "time_product", lambda dtype: 1.0 if dtype == faster else 2.0)
    assert pick_precision(CPU) == faster


def test_a_cpu_without_bfloat16_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.delattr(device, "time_product")
    assert pick_precision(CPU) == torch.float32


def test_a_product_is_timed_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.get_rng_state()
    short = time_product(torch.float32)
    assert torch.equal(torch.get_rng_state(), drawn)
    monkeypatch.setattr(device, "SIDE", 1024)
    assert time_product(torch.float32) > 5 * short > 0
