import pytest
import torch

from service.device import DeviceError, pick_device, pick_precision


def test_auto_is_cuda_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cuda:-1", "meta", "cpu:x", "cpu:0", "mps"])
def test_a_device_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(DeviceError, match=name or "''"):
        pick_device(name)


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_tile": True}, torch.bfloat16),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_tile": False}, torch.float32),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC", "avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_computes_in_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, object], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert pick_precision(torch.device("cpu")) == expected
