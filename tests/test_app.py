"""A real BentoML server over the shipped model, started as a user starts it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.artifact import load_artifact
from service.inference.golden import write_golden
from service.inference.predictor import Predictor
from service.labels import LABELS
from tests.conftest import encode, make_faces
from tests.live import as_no_superuser, free_port, run_tool, running, serve_command
from tests.serving import even
from tests.test_artifact import SHIPPED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[str]:
    """The address of a ready server."""
    with running(environment) as (address, process):
        yield address
    assert process.returncode in (0, -signal.SIGTERM)


def test_labels_over_http_are_the_predictors(server: str) -> None:
    images = make_faces(35).images
    expected = Predictor(load_artifact(SHIPPED), "cpu", 64).predict(images).argmax(1)
    parts = [("images", encode(image)) for image in images]
    answer = httpx.post(f"{server}/predict_batch", files=parts, timeout=30)
    labels = [result["label"] for result in answer.json()["results"]]
    assert labels == [LABELS[index] for index in expected]
    single = httpx.post(f"{server}/predict", files={"image": parts[0][1]}, timeout=30).json()
    assert single["label"] == labels[0]
    assert single["model"].startswith("facial-emotion:")


def test_health_metrics_and_pages(server: str) -> None:
    for path in ("/", "/livez", "/readyz", "/docs", "/openapi.json", "/info", "/metrics"):
        assert httpx.get(server + path).status_code == 200, path
    assert "emotion_predictions_total" in httpx.get(server + "/metrics").text
    assert httpx.get(server + "/nowhere").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EMOTION_MODEL", "absent:latest", "no model absent:latest in the BentoML store"),
        ("EMOTION_MODEL", "bad tag!", "EMOTION_MODEL='bad tag!'"),
        ("EMOTION_DEVICE", "gpu", "EMOTION_DEVICE: 'gpu' is not"),
        ("EMOTION_DEVICE", "cuda:99", "EMOTION_DEVICE: no device cuda:99"),
        ("EMOTION_MAX_QUEUE", "10", "EMOTION_MAX_ITEMS is over EMOTION_MAX_QUEUE"),
    ],
)
def test_a_mistake_is_one_line_and_no_start(
    environment: dict[str, str], name: str, value: str, message: str
) -> None:
    done = run_tool(serve_command(free_port()), {**environment, name: value})
    assert done.returncode != 0
    assert f"error: {message}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_torn_model_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    variables = {**environment, "BENTOML_HOME": str(tmp_path)}
    run_tool(["-m", "search", "publish"], variables)
    (weights,) = tmp_path.glob("models/facial-emotion/*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    done = run_tool(serve_command(free_port()), variables)
    assert done.returncode != 0
    assert f"{weights}: SHA-256" in done.stderr


def test_a_model_that_answers_otherwise_is_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    variables = {**environment, "BENTOML_HOME": str(tmp_path)}
    run_tool(["-m", "search", "publish"], variables)
    (card,) = tmp_path.glob("models/facial-emotion/*/card.json")
    folder = card.parent
    write_golden(folder, even)
    done = run_tool(serve_command(free_port()), variables)
    assert done.returncode != 0
    assert "a golden face's score is off by" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_model_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    variables = {**environment, "BENTOML_HOME": str(tmp_path)}
    run_tool(["-m", "search", "publish"], variables)
    (manifest,) = tmp_path.glob("models/facial-emotion/*/model.yaml")
    manifest.unlink()
    manifest.mkdir()
    done = run_tool(serve_command(free_port()), variables)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert str(manifest) in done.stderr


@pytest.mark.parametrize("name", ["", "weights.safetensors"])
def test_of_a_model_that_the_user_may_not_read_the_mending_is_told(
    environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    variables = {**environment, "BENTOML_HOME": str(tmp_path)}
    run_tool(["-m", "search", "publish"], variables)
    (folder,) = tmp_path.glob("models/facial-emotion/*/")
    # Published for all users.
    assert folder.stat().st_mode & 0o755 == 0o755
    (folder / name).chmod(0)
    done = run_tool(serve_command(free_port()), variables, as_no_superuser())
    (folder / name).chmod(0o755)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert f"user {os.geteuid()} cannot read it; run: chmod -R a+rX" in done.stderr
