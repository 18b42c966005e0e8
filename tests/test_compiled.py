import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.artifact import load_artifact
from service.inference import compiled, predictor
from service.inference.compiled import compile_network, compiled_path, load_compiled
from service.inference.predictor import Predictor
from service.network import NetworkConfig, PlainConfig, build_network
from tests.conftest import TINY, make_faces
from tests.live import ROOT
from tests.test_artifact import SHIPPED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the shipped model's graph."""
    artifact = load_artifact(SHIPPED)
    compiled_path(tmp_path, artifact).write_bytes(compile_network(artifact.network))
    return tmp_path


def test_the_graph_answers_like_pytorch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "pick_precision", lambda _: torch.float32)
    faces = make_faces(140).images
    expected = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(faces)
    found = Predictor(load_artifact(SHIPPED), "cpu", 64, folder)
    assert not isinstance(found.network, torch.nn.Module)
    np.testing.assert_allclose(found.predict(faces), expected, atol=1e-5)
    np.testing.assert_allclose(found.predict(faces[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("config", [TINY, PlainConfig(channels=(8, 8, 8, 8, 8))])
def test_both_families_compile(config: NetworkConfig, tmp_path: Path) -> None:
    network = build_network(config).eval()
    path = tmp_path / "network.onnx"
    path.write_bytes(compile_network(network))
    images = torch.randn(5, 1, 48, 48)
    forward = load_compiled(path, network, 1)
    assert forward
    with torch.inference_mode():
        torch.testing.assert_close(forward(images), network(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_without_a_sound_graph_pytorch_answers(content: bytes | None, tmp_path: Path) -> None:
    artifact = load_artifact(SHIPPED)
    if content is not None:
        compiled_path(tmp_path, artifact).write_bytes(content)
    found = Predictor(artifact, "cpu", 64, tmp_path)
    assert isinstance(found.network, torch.nn.Module)
    assert np.isfinite(found.predict(make_faces(1).images)).all()


def test_a_graph_of_other_weights_is_not_trusted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = build_network(TINY).eval(), build_network(TINY).eval()
    path = tmp_path / "network.onnx"
    path.write_bytes(compile_network(first))
    assert load_compiled(path, first, 1)
    assert load_compiled(path, second, 1) is None


def test_a_graph_that_gives_nan_is_not_trusted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(faces: Tensor) -> Tensor:
        return torch.full((len(faces), 7), float("nan"))

    artifact = load_artifact(SHIPPED)
    monkeypatch.setattr(compiled, "_open", lambda *_: fail)
    assert load_compiled(compiled_path(folder, artifact), artifact.network, 1) is None


def test_the_runtime_reports_to_nobody(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    code = (
        "from service.artifact import load_artifact; from pathlib import Path; "
        "from service.inference.compiled import *; from tests.test_artifact import SHIPPED; "
        "a = load_artifact(SHIPPED); "
        f"assert load_compiled(compiled_path(Path({str(folder)!r}), a), a.network, 1)"
    )
    variables = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables | {"HOME": str(home)}, check=True
    )
    # Where it reports, it keeps an identifier of the machine here.
    assert list(home.rglob("*")) == []
