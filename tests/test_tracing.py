"""Spans, as a collector on this machine gets them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette

from service.server.tracing import ENDPOINTS, TRACING, TracingError, prepare_tracing
from service.settings import Settings
from service.version import VERSION
from tests.conftest import encode, make_faces
from tests.live import ROOT, running, wait_until
from tests.serving import with_client

FACE = encode(make_faces(1).images[0])
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT, TRACES_ENDPOINT = ENDPOINTS
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "id-1"}


class Collector(HTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: set[str] = set()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.add(self.path)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the variable names."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(ENDPOINT, server.address)
        for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", TRACES_ENDPOINT):
            # What is set in a test is put back, too, only where there was something to delete.
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, str | int]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


async def ask(client: httpx.AsyncClient, app: Starlette) -> None:
    await client.post("/predict", files={"image": FACE}, headers=HEADERS)
    await client.get("/secret-path?secret-query")
    del app.state.backend
    await client.get("/info")


def test_requests_and_their_steps_are_spans(collector: Collector) -> None:
    TRACING.start()
    with_client(Settings(), ask)
    TRACING.stop()
    assert collector.paths == {"/v1/traces"}
    spans = {span.name: span for span in collector.spans}
    assert spans.keys() == {"POST /predict", "decode", "network", "GET other", "GET /info"}
    request = spans["POST /predict"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, CALLER)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "request.id": "id-1",
    }
    for name, count in (("decode", {"images": 1}), ("network", {"views": 1})):
        assert spans[name].parent_span_id == request.span_id
        assert attributes(spans[name]) == count
    failed = [span.name for span in spans.values() if span.status.code]
    assert failed == ["GET /info"]
    assert attributes(spans["GET /info"])["http.response.status_code"] == 500
    assert "secret" not in str(collector.requests)


def test_the_address_of_traces_alone_is_enough(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENDPOINT)
    monkeypatch.setenv(TRACES_ENDPOINT, f"{collector.address}/as-it-is")
    TRACING.start()
    with_client(Settings(), ask)
    TRACING.stop()
    assert collector.paths == {"/as-it-is"}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "facial-emotion"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine,deployment.environment=test"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}, "facial-emotion"),
    ],
)
def test_the_environment_may_name_the_service(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    TRACING.start()
    with_client(Settings(), ask)
    TRACING.stop()
    resource = collector.requests[0].resource_spans[0].resource
    found = {item.key: item.value.string_value for item in resource.attributes}
    assert found["service.name"] == name
    assert ("deployment.environment" in found) == ("OTEL_RESOURCE_ATTRIBUTES" in variables)
    assert found["service.version"] == VERSION


@pytest.mark.parametrize(
    "variables",
    [{ENDPOINT: ""}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
)
def test_nothing_is_sent_unless_wanted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    prepare_tracing()
    TRACING.start()
    assert TRACING.provider is None
    with_client(Settings(), ask)
    assert collector.requests == []


def test_a_missing_exporter_is_named(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(TracingError, match="extra: tracing"):
        prepare_tracing()


@pytest.mark.slow
def test_a_missing_exporter_is_one_line_and_no_start(
    collector: Collector, environment: dict[str, str]
) -> None:
    code = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http'] = None; "
    command = [sys.executable, "-c", code + "import service.app"]
    variables = environment | {ENDPOINT: collector.address}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {ENDPOINT} is set and the exporter is missing; install the extra: tracing"
    ]


@pytest.mark.slow
def test_a_server_sends_its_spans(collector: Collector, environment: dict[str, str]) -> None:
    variables = {
        "EMOTION_WORKERS": "1",
        ENDPOINT: collector.address,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with running(environment | variables) as (address, _):
        httpx.post(f"{address}/predict", files={"image": FACE}, headers=HEADERS, timeout=60)
        wait_until(lambda: "POST /predict" in {span.name for span in collector.spans}, 30)
    names = {span.name for span in collector.spans if span.trace_id.hex() == TRACE}
    assert names == {"POST /predict", "decode", "network"}
    (resource,) = {str(request.resource_spans[0].resource) for request in collector.requests}
    assert "facial-emotion" in resource
