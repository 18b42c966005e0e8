import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.types import Message

from service.log import REQUEST_ID, JsonFormatter
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.serving import even, hang_up, with_client

FACE = encode(make_faces(1).images[0])


def test_every_answer_has_safe_headers_and_an_id() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        for path in ("/livez", "/docs", "/nowhere", "/static_content/swagger-ui.css", "/predict"):
            answer = await client.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert len(answer.headers["x-request-id"]) == 16

    with_client(Settings(), work)


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 65, False)])
def test_only_plain_request_ids_are_taken_over(sent: str, kept: bool) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.get("/livez", headers={"x-request-id": sent})
        assert (answer.headers["x-request-id"] == sent) is kept

    with_client(Settings(), work)


def test_markup_comes_back_as_data() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        markup = "<script>alert(1)</script>"
        image = (f"{markup}.png", b"junk")
        for answer in (
            await client.get(f"/{markup}"),
            await client.post("/predict", params={"faces": markup}, files={"image": image}),
            await client.post("/predict", params={markup: "1"}, files={"image": image}),
            await client.post("/predict", files={markup: image}),
            await client.post("/predict", files={"image": image}),
            await client.post("/predict", content=b"junk", headers={"content-type": markup}),
        ):
            assert 400 <= answer.status_code < 500
            assert answer.headers["content-type"] == "application/json"
            assert "<script" not in answer.text

    with_client(Settings(), work)


def test_paths_do_not_become_labels() -> None:
    def series() -> int:
        return sum(len(family.samples) for family in REGISTRY.collect())

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        await client.get("/unknown")
        before = series()
        for number in range(50):
            await client.get(f"/unknown/{number}")
            await client.get(f"/static_content/{number}")
        assert series() == before

    with_client(Settings(), work)


def test_a_fault_of_ours_is_500_in_our_shape(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        del app.state.backend
        answer = await client.get("/info")
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert "Traceback" not in answer.text

    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    with caplog.at_level("INFO"):
        with_client(Settings(), work)
    assert any(record.exc_info for record in caplog.records)


def test_a_log_line_is_json_without_what_the_client_sent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a-key-that-must-never-be-logged"

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        headers = {"authorization": f"Bearer {key}", "x-request-id": "id-1"}
        await client.post("/predict", files={"image": ("secret-name", FACE)}, headers=headers)
        await client.get("/secret-path?secret-query", headers=headers)
        await client.get("/info", headers={"x-api-key": key + "-wrong"})

    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    with caplog.at_level("INFO"):
        with_client(Settings.model_validate({"api_keys": key}), work)
    records = [record for record in caplog.records if record.message == "request"]
    lines = [JsonFormatter().format(record) for record in records]
    assert [json.loads(line)["status"] for line in lines] == [200, 404, 401]
    assert json.loads(lines[0])["route"] == "/predict"
    assert not [line for line in lines if "secret" in line or key in line]


def test_a_log_line_says_why_a_request_failed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        await client.get("/metrics")
        await client.get("/info")
        await client.get("/nowhere")
        await client.get("/%00")
        await client.post("/predict", files={"image": b"text"})
        await hang_up(app)
        app.state.health.draining = True
        await client.get("/readyz")
        del app.state.backend
        await client.get("/info")

    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    with caplog.at_level("INFO"):
        with_client(Settings.model_validate({"admin_key": "k" * 16}), work)
    records = [vars(record) for record in caplog.records if record.message == "request"]
    assert [record["details"].get("code") for record in records] == [
        *("unauthorized", None, "not_found", "not_found", "unsupported_format"),
        *("client_disconnected", "draining", "internal"),
    ]


@pytest.mark.parametrize(
    ("level", "logged"), [("INFO", ["/info", "/readyz"]), ("DEBUG", ["/livez", "/info", "/readyz"])]
)
def test_probes_that_went_well_are_logged_at_debug(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    logged: list[str],
) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        await client.get("/livez")
        await client.get("/info")
        app.state.health.draining = True
        await client.get("/readyz")

    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    with caplog.at_level(level, "bentoml"):
        with_client(Settings(), work)
    records = [record for record in caplog.records if record.message == "request"]
    assert [json.loads(JsonFormatter().format(record))["route"] for record in records] == logged


def test_a_log_line_names_its_request() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, 'a "quoted"\nmessage', None, None)
    token = REQUEST_ID.set("id-2")
    line = JsonFormatter().format(record)
    REQUEST_ID.reset(token)
    assert "\n" not in line
    assert json.loads(line)["message"] == 'a "quoted"\nmessage'
    assert json.loads(line)["request_id"] == "id-2"


def test_predictions_and_inputs_are_counted() -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    names = ("confidence", "input_brightness", "input_contrast", "input_pixels", "batch_images")
    before = [value(f"emotion_{name}_count") for name in names]
    angry = value("emotion_predictions_total", label="angry")

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        await client.post("/predict", files={"image": FACE})
        text = (await client.get("/metrics")).text
        assert 'emotion_requests_total{route="/predict",status="200"}' in text
        assert 'emotion_queue_seconds_bucket{le="0.001"}' in text

    with_client(Settings(), work)
    assert [value(f"emotion_{name}_count") for name in names] == [count + 1 for count in before]
    assert value("emotion_predictions_total", label="angry") == angry + 1


def read_sums() -> tuple[float, float]:
    """Seconds of answering and of uploading so far."""
    answers = REGISTRY.get_sample_value("emotion_request_seconds_sum", {"route": "/predict"})
    return answers or 0.0, REGISTRY.get_sample_value("emotion_upload_seconds_sum") or 0.0


def test_the_time_of_an_upload_is_not_the_services() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield FACE[:100]
        await asyncio.sleep(0.4)
        yield FACE[100:]

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        before = read_sums()
        kind = {"Content-Type": "image/png"}
        answer = await client.post("/predict", content=drip(), headers=kind)
        assert answer.status_code == 200
        answering, uploading = (after - at for after, at in zip(read_sums(), before, strict=True))
        assert answering < 0.4 <= uploading

    with_client(Settings(), work)


@pytest.mark.parametrize(
    ("kind", "parts", "status"),
    [
        ("image/png", (b"x" * 600, b"x" * 600, b"x"), 413),
        ("multipart/form-data; boundary=x", (b"--", b"no boundary", b"x"), 400),
    ],
)
def test_an_upload_that_is_refused_midway_is_not_the_services_time(
    kind: str, parts: tuple[bytes, bytes, bytes], status: int
) -> None:
    async def drip() -> AsyncIterator[bytes]:
        first, second, rest = parts
        yield first
        await asyncio.sleep(0.4)
        yield second
        yield rest

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        before = read_sums()
        answer = await client.post("/predict", content=drip(), headers={"Content-Type": kind})
        assert answer.status_code == status
        answering, uploading = (after - at for after, at in zip(read_sums(), before, strict=True))
        assert answering < 0.4 <= uploading

    with_client(Settings(max_body_bytes=1000), work)


def test_draining_is_told_and_connections_close() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        assert (await client.get("/readyz")).status_code == 200
        app.state.health.draining = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        predicted = await client.post("/predict", files={"image": FACE})
        assert predicted.status_code == 200
        assert predicted.headers["connection"] == "close"

    with_client(Settings(), work)


def test_a_failing_network_is_not_ready_until_it_answers_again() -> None:
    broken = True

    def predict(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        if broken:
            raise RuntimeError("out of order")
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        nonlocal broken
        assert (await client.post("/predict", files={"image": FACE})).status_code == 503
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        broken = False
        assert (await client.get("/readyz")).status_code == 200

    with_client(Settings(), work, predict)


def test_a_hung_network_is_neither_ready_nor_for_long_alive() -> None:
    release = threading.Event()

    def hang(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        release.wait(5)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        begun = time.monotonic()
        late = await client.post("/predict", files={"image": FACE})
        assert (late.status_code, late.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert time.monotonic() - begun < 1
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "stalled")
        assert (await client.get("/livez")).status_code == 503
        release.set()

    with_client(Settings(answer_seconds=0.4, stall_seconds=0.1), work, hang)


def test_a_busier_worker_closes_the_connection(tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        assert "connection" not in (await client.get("/livez")).headers
        app.state.balance.join(tmp_path, 0, 2)
        for _ in range(20):
            app.state.balance.enter()
        time.sleep(0.3)
        assert (await client.get("/livez")).headers["connection"] == "close"
        assert "connection" not in (await client.get("/livez")).headers

    with_client(Settings(), work)


def test_an_answer_that_nobody_takes_is_a_hang_up(caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        request = client.build_request("GET", "/info")
        scope = {
            "type": "http",
            "method": "GET",
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": b"",
            "headers": [],
        }
        gone = REGISTRY.get_sample_value
        labels = {"route": "/info", "status": "499"}
        before = gone("emotion_requests_total", labels) or 0
        await app(scope, receive, send)
        assert gone("emotion_requests_total", labels) == before + 1

    with_client(Settings(), work)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
