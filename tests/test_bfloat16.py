import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.artifact import load_artifact
from service.inference import predictor, rounding
from service.inference.bfloat16 import compile_bfloat16
from service.inference.golden import draw_golden
from service.inference.predictor import Predictor
from service.network import NetworkConfig, PlainConfig, build_network
from tests.conftest import TINY, make_faces
from tests.live import ROOT
from tests.test_artifact import SHIPPED


@pytest.mark.parametrize("config", [TINY, PlainConfig(channels=(8, 8, 8))])
@pytest.mark.parametrize("count", [1, 9, 70])
def test_both_families_compile_for_any_batch(config: NetworkConfig, count: int) -> None:
    torch.manual_seed(0)
    network = build_network(config).eval()
    forward = compile_bfloat16(network)
    assert forward
    images = torch.randn(count, 1, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(forward(images), network(images), atol=0.03, rtol=0.03)


def test_a_network_answers_while_another_one_is_compiled() -> None:
    torch.manual_seed(0)
    networks = [build_network(TINY).eval() for _ in range(2)]
    images = torch.randn(5, 1, 48, 48)
    forwards = [compile_bfloat16(network) for network in networks]
    with torch.inference_mode():
        for forward, network in zip(forwards, networks, strict=True):
            assert forward
            torch.testing.assert_close(forward(images), network(images), atol=0.03, rtol=0.03)


LOADS = """
import gc, sys, torch
from service.inference import bfloat16
from service.artifact import load_artifact
from service.inference.device_memory import held_memory
from pathlib import Path
held = []
for _ in range(7):
    network = load_artifact(Path(sys.argv[1])).network.to(memory_format=torch.channels_last)
    forward = bfloat16.compile_bfloat16(network)
    with torch.inference_mode():
        for size in bfloat16.SIZES:
            for _ in range(2):
                forward(torch.zeros(size, 1, 48, 48))
    del network, forward
    gc.collect()
    held.append(held_memory(torch.device("cpu")) / 1e6)
print(held[-1] - held[3])
"""


@pytest.mark.slow
def test_models_that_were_taken_up_and_given_up_leave_no_memory() -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOADS, str(SHIPPED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # Without giving the code back it is 55 MB for each of the three.
    assert float(done.stdout) < 80


def test_a_network_that_rounding_spoils_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "TOLERANCE", 0.0)
    assert compile_bfloat16(build_network(TINY).eval()) is None


def test_what_cannot_be_traced_is_left_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> nn.Module:
        raise RuntimeError("TorchScript is gone")

    monkeypatch.setattr(torch.jit, "trace", fail)
    assert compile_bfloat16(build_network(TINY).eval()) is None


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round on any CPU, also where it is slow."""
    monkeypatch.setattr(predictor, "pick_precision", lambda _: torch.bfloat16)


@pytest.mark.usefixtures("rounded")
def test_rounded_answers_have_the_labels_of_the_reference(tmp_path: Path) -> None:
    shifts = [(down, right) for down in (-4, 0, 4) for right in (-4, 0, 4)]
    faces = np.concatenate([np.roll(draw_golden(), shift, (1, 2)) for shift in shifts])
    expected = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(faces)
    fast = Predictor(load_artifact(SHIPPED), "cpu", 64, tmp_path)
    assert fast.rounded
    found = fast.predict(faces)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.usefixtures("rounded")
def test_float32_decides_near_ties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Predictor(load_artifact(SHIPPED), "cpu", 4, tmp_path)
    asked: list[int] = []

    def rounded(batch: Tensor) -> Tensor:
        rows = torch.zeros(len(batch), 7)
        rows[:, 0] = torch.tensor([5.0, 0.001, 5.0])
        return rows

    def exact(batch: Tensor) -> Tensor:
        asked.append(len(batch))
        return torch.eye(7)[[3]].repeat(len(batch), 1) * 9

    fast.rounded, fast.network = rounded, exact
    assert fast.predict(make_faces(3).images).argmax(1).tolist() == [0, 3, 0]
    assert asked == [1]
