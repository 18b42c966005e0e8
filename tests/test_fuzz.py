"""Mutated images and requests against a real server: no 5xx, no hang, no memory kept.

`make fuzz` sends 10,000 of each kind.
"""

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import hypothesis.strategies as st
import numpy as np
import psutil
import pytest
import schemathesis
from hypothesis import given
from PIL import Image
from schemathesis.checks import positive_data_acceptance

from tests.conftest import encode, make_faces
from tests.live import running

pytestmark = pytest.mark.slow

SECONDS = 5.0
"""Longest time for an answer."""

MEMORY = 96 * 2**20
"""Most bytes that the worker may have gained, over what it holds after the same work done once."""


def make_seeds() -> list[bytes]:
    """Images of every format that is read, and of some that are not."""
    face = Image.fromarray(make_faces(1).images[0])
    colour = Image.merge("RGB", [face.resize((96, 80))] * 3)
    deep = Image.fromarray(np.full((48, 48), 40_000, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(face),
        encode(deep),
        encode(colour.quantize(16)),
        encode(colour.convert("RGBA")),
        encode(colour, "JPEG"),
        encode(colour, "JPEG", progressive=True, exif=exif),
        encode(colour.convert("CMYK"), "JPEG"),
        encode(colour, "WEBP"),
        encode(colour, "WEBP", lossless=True),
        encode(colour, "WEBP", save_all=True, append_images=[colour.rotate(90)]),
        encode(colour, "BMP"),
        encode(colour.quantize(4), "BMP"),
        encode(colour, "GIF"),
        encode(colour, "TIFF"),
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    ]


@dataclass
class Server:
    """A running server and what it answered.

    Attributes:
        address: with http://.
        client: connected to it.
        worker: the process that answers.
        statuses: how often each status came; 0 for a connection closed without one.
        slowest: seconds of the slowest answer.
    """

    address: str
    client: httpx.Client
    worker: psutil.Process
    statuses: dict[int, int] = field(default_factory=dict)
    slowest: float = 0.0

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.slowest = max(self.slowest, seconds)
        assert status < 500
        assert seconds < SECONDS


@pytest.fixture(scope="module")
def server(environment: dict[str, str]) -> Iterator[Server]:
    variables = {
        "EMOTION_WORKERS": "1",
        "EMOTION_BODY_SECONDS": "2",
        "EMOTION_LOG_LEVEL": "warning",
        "EMOTION_MAX_PIXELS": "4000000",
    }
    with running(environment | variables) as (address, process):
        worker = max(
            psutil.Process(process.pid).children(recursive=True),
            key=lambda child: child.memory_info().rss,
        )
        with httpx.Client(base_url=address, timeout=30) as client:
            yield Server(address, client, worker)


@pytest.fixture(scope="module")
def watched(server: Server) -> Iterator[Server]:
    """The server; at the end it is ready, answers, and has given its memory back."""
    for path in ("/predict", "/predict?faces=auto", "/explain"):
        for seed in make_seeds() * 8:
            server.client.post(path, files={"image": seed})
    before = server.worker.memory_info().rss
    yield server
    after = server.worker.memory_info().rss
    assert server.client.get("/readyz").status_code == 200
    assert server.client.post("/predict", files={"image": make_seeds()[0]}).status_code == 200
    print(f"{server.statuses}, slowest {server.slowest:.2f} s, memory {before:,} to {after:,}")
    assert after - before < MEMORY


def mutate(seed: bytes, chance: Random) -> bytes:
    """A few bytes changed, cut out, doubled or put in."""
    content = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        # Headers decide how an image is read, so many of the changes are there.
        end = min(len(content), 64) if chance.random() < 0.2 else len(content)
        place, length = chance.randrange(end + 1), chance.randint(1, 16)
        kind = chance.choice(["set", "flip", "flip", "cut", "insert", "double", "end", "large"])
        if kind == "set":
            content[place : place + length] = chance.randbytes(length)
        elif kind == "flip" and place < len(content):
            content[place] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "insert":
            content[place:place] = chance.randbytes(length)
        elif kind == "double":
            content[place:place] = content[place : place + 8 * length]
        elif kind == "end":
            del content[place:]
        elif kind == "large":
            content[place : place + 4] = b"\x7f\xff\xff\xff"
    return bytes(content)


def mutants(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    # One number for all choices: Hypothesis would draw mostly small places and lengths.
    chances = st.integers(0, 2**64).map(Random)
    return st.builds(mutate, st.sampled_from(seeds), chances)


@given(
    content=mutants(make_seeds()),
    path=st.sampled_from(["/predict", "/predict?faces=auto", "/explain", "/explain?format=json"]),
    raw=st.booleans(),
)
def test_mutated_images(watched: Server, content: bytes, path: str, raw: bool) -> None:
    body: dict[str, Any] = {"files": {"image": content}}
    if raw:
        body = {"content": content, "headers": {"content-type": "image/jpeg"}}
    begun = time.monotonic()
    answer = watched.client.post(path, **body)
    watched.note(answer.status_code, time.monotonic() - begun)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"code", "message"}


def make_requests() -> list[bytes]:
    """Whole requests as they go over the wire."""
    face = make_seeds()[0]
    requests = [
        httpx.Request("POST", "http://test/predict", files={"image": face}),
        httpx.Request("POST", "http://test/predict_batch", files=[("images", face)] * 3),
        httpx.Request("POST", "http://test/explain?label=happy&face=0", files={"image": face}),
        httpx.Request(
            "POST", "http://test/predict", content=face, headers={"expect": "100-continue"}
        ),
        httpx.Request(
            "POST",
            "http://test/predict",
            content=face,
            headers={"content-type": "image/png", "content-length": "0" * 5000 + str(len(face))},
        ),
        httpx.Request("GET", "http://test/info"),
        httpx.Request("GET", "http://test/page/page.js"),
        httpx.Request("OPTIONS", "http://test/predict", headers={"origin": "http://x"}),
        httpx.Request("POST", "http://test/predict", content=iter([face[:50], face[50:]])),
    ]
    written = []
    for request in requests:
        head = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n".encode()
        head += b"".join(name + b": " + value + b"\r\n" for name, value in request.headers.raw)
        chunks = list(request.stream)  # type: ignore[arg-type]
        if "transfer-encoding" in request.headers:
            chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""]]
        written.append(head + b"\r\n" + b"".join(chunks))
    return written


@given(content=mutants(make_requests()))
def test_mutated_requests(watched: Server, content: bytes) -> None:
    host, port = watched.address.removeprefix("http://").split(":")
    begun = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=SECONDS) as sender:
        try:
            sender.sendall(content)
            sender.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sender.recv(65536), b""))
        except ConnectionError:
            answer = b""
    for status in re.findall(rb"^HTTP/1.1 (\d+)", answer, re.MULTILINE) or [b"0"]:
        watched.note(int(status), time.monotonic() - begun)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *[(path, "POST") for path in ("/predict", "/predict_batch", "/explain", "/admin/reload")],
        *[(path, "GET") for path in ("/info", "/livez", "/readyz", "/metrics")],
    ],
)
def test_requests_made_from_the_api_document(watched: Server, path: str, method: str) -> None:
    document = schemathesis.openapi.from_url(f"{watched.address}/openapi.json")
    operation = document[path][method]

    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case[Any]) -> None:
        # The document cannot say which bytes are an image, so refusing what fits it is right.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=SECONDS)

    check()
