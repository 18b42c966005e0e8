import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.artifact import load_artifact
from service.inference.backend import Backend
from service.inference.batching import Batcher
from service.inference.explain import Explainer
from service.inference.predictor import Predictor
from service.labels import LABELS
from service.routes.application import make_app, make_routes
from service.settings import Settings
from tests.conftest import encode, make_faces

SETTINGS = Settings(max_body_bytes=100_000, max_items=4, max_pixels=1_000_000)


@pytest.fixture
def client(artifact: Path) -> Iterator[TestClient]:
    """The routes with a tiny network behind them, in one event loop."""
    loaded = load_artifact(artifact)
    explainer = Explainer(loaded.network)
    predictor = Predictor(loaded, "cpu", 8)
    app = make_app(SETTINGS)
    with TestClient(app) as client:
        batcher = Batcher(predictor.predict, max_batch_size=8, max_wait_ms=0, stall_seconds=10)
        app.state.backend = Backend(batcher, "tiny:1", loaded.card, explainer)
        assert client.portal
        client.portal.call(batcher.start)
        yield client
        client.portal.call(batcher.stop)


FACE = encode(make_faces(1).images[0])


def test_multipart_and_raw_agree(client: TestClient) -> None:
    form = client.post("/predict", files={"image": FACE})
    raw = client.post("/predict", content=FACE, headers={"content-type": "image/png"})
    assert form.status_code == raw.status_code == 200
    assert form.json() == raw.json()
    answer = form.json()
    assert set(answer) == {"label", "confidence", "uncertain", "scores", "model"}
    assert tuple(answer["scores"]) == LABELS
    assert (
        answer["confidence"] == answer["scores"][answer["label"]] == max(answer["scores"].values())
    )
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_batch_keeps_order_and_one_bad_item_harms_none(client: TestClient) -> None:
    images = [encode(image) for image in make_faces(14).images[::7]]
    singles = [client.post("/predict", files={"image": image}).json() for image in images]
    parts = [("images", image) for image in (images[0], b"junk", images[1], b"")]
    results = client.post("/predict_batch", files=parts).json()["results"]
    assert results[1]["error"]["code"] == "unsupported_format"
    assert results[3]["error"]["code"] == "empty_file"
    for single, result in zip(singles, (results[0], results[2]), strict=True):
        assert single["label"] == result["label"]
        assert single["confidence"] == pytest.approx(result["confidence"], abs=1e-4)


def test_a_batch_of_junk_answers_errors(client: TestClient) -> None:
    answer = client.post("/predict_batch", files=[("images", b"junk")])
    assert answer.status_code == 200
    assert "error" in answer.json()["results"][0]


BOMB = encode(Image.new("L", (1001, 1000)))
PNG = {"content-type": "image/png"}
BOUNDARY = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("/predict", {"content": b""}, 415, "unsupported_media_type"),
        ("/predict", {"json": {"image": "x"}}, 415, "unsupported_media_type"),
        ("/predict", {"content": b"", "headers": PNG}, 400, "empty_file"),
        ("/predict", {"content": b"text", "headers": PNG}, 415, "unsupported_format"),
        ("/predict", {"content": FACE[:-50], "headers": PNG}, 422, "invalid_image"),
        ("/predict", {"content": BOMB, "headers": PNG}, 413, "too_many_pixels"),
        ("/predict", {"content": bytes(100_001), "headers": PNG}, 413, "body_too_large"),
        ("/predict", {"content": iter([bytes(60_000)] * 2), "headers": PNG}, 413, "body_too_large"),
        ("/predict", {"files": {"image": bytes(100_001)}}, 413, "body_too_large"),
        ("/predict", {"files": {"picture": FACE}}, 400, "missing_field"),
        ("/predict", {"files": {"image": b""}}, 400, "empty_file"),
        ("/predict", {"data": {"image": "x"}, "files": {"a": b""}}, 415, "unsupported_format"),
        ("/predict", {"files": [("image", FACE)] * 2}, 400, "too_many_files"),
        ("/explain", {"files": [("image", FACE)] * 2}, 400, "too_many_files"),
        ("/predict", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400,
         "invalid_form"),
        ("/predict", {"content": b"no boundary here", "headers": BOUNDARY}, 400, "invalid_form"),
        ("/predict_batch", {"files": {"image": FACE}}, 400, "missing_field"),
        ("/predict_batch", {"content": FACE, "headers": PNG}, 415, "unsupported_media_type"),
        ("/predict_batch", {"files": [("images", FACE)] * 5}, 413, "too_many_items"),
        ("/nowhere", {}, 404, "not_found"),
    ],
)  # fmt: skip
def test_bad_requests(
    client: TestClient, path: str, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post(path, **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("length", "status"), [("0" * 5000 + str(len(FACE)), 200), ("1" + "0" * 5000, 413)]
)
def test_a_length_may_have_many_digits(client: TestClient, length: str, status: int) -> None:
    answer = client.post("/predict", content=FACE, headers={**PNG, "content-length": length})
    assert answer.status_code == status


def form_part(disposition: bytes, content: bytes, kind: bytes = b"") -> dict[str, Any]:
    """A request whose form has one part, with just these headers."""
    typed = b"Content-Type: %b\r\n" % kind if kind else b""
    head = b"--x\r\nContent-Disposition: form-data; %b\r\n%b\r\n" % (disposition, typed)
    return {"content": head + content + b"\r\n--x--\r\n", "headers": BOUNDARY}


@pytest.mark.parametrize(
    ("disposition", "kind"),
    [
        # .NET's ByteArrayContent; Flutter, OkHttp and Node's form-data; an old Python's requests.
        (b"name=image", b""),
        (b'name="image"', b"application/octet-stream"),
        (b"name=\"image\"; filename*=utf-8''gr%C3%B6.png", b"image/png"),
        # PHP and axios number the files.
        (b'name="image[]"; filename="a.png"', b"image/png"),
        (b'name="image[0]"', b""),
    ],
)
def test_a_file_needs_no_name_and_may_have_a_number(
    client: TestClient, disposition: bytes, kind: bytes
) -> None:
    answer = client.post("/predict", **form_part(disposition, FACE, kind))
    assert answer.status_code == 200
    assert answer.json() == client.post("/predict", files={"image": FACE}).json()
    for content, expected in ((b"text", (415, "unsupported_format")), (b"", (400, "empty_file"))):
        found = client.post("/predict", **form_part(disposition, content, kind))
        assert (found.status_code, found.json()["error"]["code"]) == expected


def test_numbered_files_keep_the_order_of_the_form(client: TestClient) -> None:
    images = [encode(image) for image in make_faces(14).images[::7]]
    parts = [("images[1]", images[0]), ("images[0]", images[1]), ("images2", images[0])]
    results = client.post("/predict_batch", files=parts).json()["results"]
    plain = client.post("/predict_batch", files=[("images", image) for image in images])
    assert results == plain.json()["results"]


@pytest.mark.parametrize(
    ("charset", "status"),
    [("ISO-8859-1", 200), ("UTF-8", 200), ("us-ascii", 200), ("punycode", 400), ("utf-7", 400)],
)
def test_a_form_may_be_said_to_be_in_latin(client: TestClient, charset: str, status: int) -> None:
    request = form_part(b'name="image"; filename="f\xf6.png"', FACE)
    kind = f"multipart/form-data; charset={charset}; boundary=x"
    answer = client.post("/predict", **request | {"headers": {"content-type": kind}})
    assert answer.status_code == status


def test_who_sends_no_image_is_told_what_to_send(client: TestClient) -> None:
    def message(path: str, **request: Any) -> str:
        text: str = client.post(path, **request).json()["error"]["message"]
        return text

    assert "image/*" in message("/predict", json={})
    assert "image/*" not in message("/predict_batch", json={})
    assert "/predict_batch" in message("/predict", files=[("image", FACE)] * 2)


def test_a_wrong_method_is_told(client: TestClient) -> None:
    answer = client.get("/predict")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_path_is_not_taken_for_another_one(client: TestClient) -> None:
    for path in ("/info/", "/page", "/info//"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_full_queue_says_when_to_come_back(client: TestClient) -> None:
    client.app.state.load.max_images = 0  # type: ignore[attr-defined]
    answer = client.post("/predict", files={"image": FACE})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_info_docs_and_description(client: TestClient) -> None:
    assert client.get("/info").json()["card"]["name"] == "tiny"
    page = client.get("/docs").text
    assert "openapi.json" in page
    assert "//" not in page.replace("<!doctype html>", "")
    assert client.get("/static_content/swagger-ui.css").status_code == 200


def test_the_description_has_all_routes_but_the_pages(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    routes = {route.path for route in make_routes()}
    assert set(paths) == routes - {"/", "/docs", "/openapi.json", "/page", "/static_content"}


def test_the_description_has_nothing_that_importers_of_its_version_do_not_know(
    client: TestClient,
) -> None:
    answer = client.get("/openapi.json")
    assert answer.json()["openapi"] == "3.0.3"
    # What 3.1 adds.
    added = r'"(const|prefixItems|examples|\$defs)":|"type": ("null"|\[)'
    assert not re.search(added, answer.text)


def test_the_description_names_the_headers_that_bring_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme.get("scheme") or scheme["name"] for scheme in schemes.values()} == {
        "bearer",
        "X-API-Key",
    }
    # Of all paths: none of them has its own.
    assert document["security"] == [{}, *({name: []} for name in schemes)]
    operations = [way for ways in document["paths"].values() for way in ways.values()]
    assert not any("security" in operation for operation in operations)


def test_the_description_names_operations_and_what_any_request_may_be_answered(
    client: TestClient,
) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operations = [way for ways in paths.values() for way in ways.values()]
    names = [operation["operationId"] for operation in operations]
    assert names[:3] == ["predict", "predictBatch", "explain"]
    assert len(set(names)) == len(names)
    assert all(operation["responses"].keys() >= {"414", "431", "500"} for operation in operations)


def test_the_description_names_the_header_with_a_maps_label(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/explain"]["post"]["responses"]
    answer = client.post("/explain", files={"image": FACE})
    assert answer.headers["x-label"] in described["200"]["headers"]["X-Label"]["schema"]["enum"]


def test_a_path_that_bentoml_calls_deprecated_is_gone(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 404


def test_a_flat_grey_jpeg_gets_an_answer(client: TestClient) -> None:
    flat = encode(np.full((60, 80), 128, np.uint8), "JPEG")
    assert client.post("/predict", files={"image": flat}).status_code == 200


@pytest.mark.parametrize("wanted", ["bytes=abc", "bytes=9999999-", "bytes=0-1"])
@pytest.mark.parametrize("path", ["/", "/page/page.css", "/static_content/swagger-ui.css"])
def test_files_come_whole(client: TestClient, path: str, wanted: str) -> None:
    whole = client.get(path)
    answer = client.get(path, headers={"Range": wanted})
    assert (whole.status_code, answer.status_code) == (200, 200)
    assert answer.content == whole.content
