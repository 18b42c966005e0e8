"""What a request may take: bytes, pixels, time, and a place among the others."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.types import Message

from service.errors import RequestError
from service.reading.decoding import Seen
from service.reading.faces import Box
from service.routes import predictions
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.serving import even, hang_up, with_client

FACE = encode(make_faces(1).images[0])
PNG = {"content-type": "image/png"}


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_stalled_body_is_given_up() -> None:
    async def stalled(start: bytes) -> AsyncIterator[bytes]:
        yield start
        await asyncio.sleep(30)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        form = {"content-type": "multipart/form-data; boundary=x"}
        for path, kind, start in (
            ("/predict", PNG, FACE[:100]),
            ("/predict_batch", form, b"--x\r"),
        ):
            answer = await client.post(path, content=stalled(start), headers=kind)
            assert code(answer) == (408, "request_timeout")
            assert answer.headers["connection"] == "close"
        assert app.state.load.bytes == 0

    with_client(Settings(body_seconds=0.1), work)


def test_the_pixels_of_a_request_are_limited_together() -> None:
    image = encode(Image.new("RGBA", (500, 400)))

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        parts = [("images", image)] * 4
        assert (await client.post("/predict_batch", files=parts)).status_code == 200
        answer = await client.post("/predict_batch", files=[*parts, ("images", image)])
        assert code(answer) == (413, "too_many_pixels")

    with_client(Settings(max_pixels=200_000, max_request_pixels=800_000), work)


def test_slow_decoding_ends_in_time() -> None:
    image = encode(Image.new("RGB", (4000, 4000)))

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        begun = time.monotonic()
        answer = await client.post("/predict_batch", files=[("images", image)] * 12)
        assert time.monotonic() - begun < 1.5
        # What a fast machine decodes in time is answered, the rest told as late.
        late = answer.json()["results"][-1] if answer.status_code == 200 else answer.json()
        assert late["error"]["code"] == "deadline_exceeded"
        assert answer.status_code == 200 or answer.headers["retry-after"] == "1"

    with_client(Settings(answer_seconds=0.2), work)


def test_a_busy_worker_refuses_at_once() -> None:
    release = threading.Event()

    def wait(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        release.wait(5)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        posts = [asyncio.create_task(client.post("/predict", files={"image": FACE})) for _ in "12"]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        answer = await client.post("/predict", files={"image": FACE})
        assert time.monotonic() - begun < 0.5
        assert code(answer) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/livez")).status_code == 200
        release.set()
        assert [(await post).status_code for post in posts] == [200, 200]
        assert app.state.load.requests == 0

    with_client(Settings(max_requests=2), work, wait)


def test_images_beyond_the_room_are_not_decoded() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        decoded = REGISTRY.get_sample_value("emotion_input_pixels_count")
        parts = [("images", FACE)] * 2
        with app.state.load.working(3):
            assert code(await client.post("/predict_batch", files=parts)) == (503, "unavailable")
            assert REGISTRY.get_sample_value("emotion_input_pixels_count") == decoded
            assert (await client.post("/predict_batch", files=parts[:1])).status_code == 200
        with app.state.load.working(4):
            assert code(await client.post("/predict", files={"image": FACE}))[0] == 503
        assert (await client.post("/predict_batch", files=parts)).status_code == 200
        assert app.state.load.images == 0

    with_client(Settings(max_queue=4, max_items=4), work)


def test_bodies_together_have_a_limit() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield bytes(60_000)
        await asyncio.sleep(0.3)
        yield b""

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        posts = (client.post("/predict", content=slow(), headers=PNG) for _ in range(3))
        codes = sorted([code(answer) for answer in await asyncio.gather(*posts)])
        assert codes == [(415, "unsupported_format")] + [(503, "unavailable")] * 2
        assert app.state.load.bytes == 0

    with_client(Settings(max_body_bytes=100_000, max_buffer_bytes=100_000), work)


@pytest.mark.parametrize(
    "before",
    [
        (),
        ({"type": "http.request", "body": FACE[:100], "more_body": True},),
        ({"type": "http.request", "body": FACE},),
    ],
)
def test_who_hung_up_is_not_counted_as_a_bad_request(before: tuple[Message, ...]) -> None:
    def count(status: str) -> float:
        labels = {"route": "/predict", "status": status}
        return REGISTRY.get_sample_value("emotion_requests_total", labels) or 0

    def slow(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.2)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        bad, gone = count("400"), count("499")
        await hang_up(app, *before)
        assert (count("400"), count("499")) == (bad, gone + 1)

    with_client(Settings(), work, slow)


def test_who_hung_up_is_not_computed() -> None:
    seen = []
    release = threading.Event()

    def wait(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(faces))
        release.wait(5)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        first = asyncio.create_task(client.post("/predict", files={"image": FACE}))
        await asyncio.sleep(0.1)
        await hang_up(app, {"type": "http.request", "body": FACE})
        release.set()
        assert (await first).status_code == 200
        assert (await client.post("/predict", files={"image": FACE})).status_code == 200

    with_client(Settings(), work, wait)
    assert seen == [1, 1]


def test_late_requests_are_told_and_not_computed() -> None:
    seen = []

    def slow(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(faces))
        time.sleep(0.4)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        first = asyncio.create_task(client.post("/predict", files={"image": FACE}))
        await asyncio.sleep(0.05)
        answers = await asyncio.gather(
            *(client.post("/predict", files={"image": FACE}) for _ in range(5))
        )
        assert {code(answer) for answer in answers} == {(503, "deadline_exceeded")}
        await first
        await asyncio.sleep(0.3)

    with_client(Settings(answer_seconds=0.2), work, slow)
    assert seen == [1]


def test_images_are_late_one_by_one_also_while_they_wait_for_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.1)
        return even(faces)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        # Half a second for the network: four batches of four and no twelve.
        monkeypatch.setattr(predictions, "NETWORK_SHARE", 0.5)
        answer = await client.post("/predict_batch", files=[("images", FACE)] * 48)
        assert answer.status_code == 200
        results = answer.json()["results"]
        answered = sum("label" in item for item in results)
        assert 0 < answered < 48
        assert [item.get("label") is None for item in results] == sorted(
            item.get("label") is None for item in results
        )
        assert results[-1]["error"]["code"] == "deadline_exceeded"

    with_client(Settings(answer_seconds=1, max_batch_size=4), work, slow)


def test_a_photo_is_late_whose_faces_were_not_all_seen() -> None:
    seen = Seen(np.zeros((3, 1, 48, 48), np.uint8), 9, (Box(0, 0, 1),) * 3)
    backend: Any = SimpleNamespace(card={}, model="stand-in:1")
    rows = iter(even(np.zeros((5, 48, 48), np.uint8)))
    whole, torn = (predictions.to_answer(seen, rows, backend) for _ in range(2))
    assert isinstance(whole, dict) and len(whole["faces"]) == 3
    assert isinstance(torn, RequestError) and torn.code == "deadline_exceeded"


@pytest.mark.parametrize("end", [b"", b"\r\n--x", b"\r\n--x\r\n"])
def test_a_form_that_breaks_off_is_told(end: bytes) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        whole = await client.post("/predict", content=head + FACE + b"\r\n--x--\r\n", headers=kind)
        assert whole.status_code == 200
        answer = await client.post("/predict", content=head + FACE + end, headers=kind)
        assert code(answer) == (400, "invalid_form")

    with_client(Settings(), work)


def test_the_client_names_no_charset_to_decode_text_with() -> None:
    """Python takes half a minute for a megabyte of punycode, and nobody else is served then."""
    text = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a-" + b"b" * 500_000
    kind = {"content-type": "multipart/form-data; boundary=x; charset=punycode"}

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        begun = time.monotonic()
        answer = await client.post("/predict", content=text + b"\r\n--x--\r\n", headers=kind)
        assert code(answer) == (400, "invalid_form")
        assert time.monotonic() - begun < 1
        kind["content-type"] = "multipart/form-data; boundary=x; charset=UTF-8"
        form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n' + FACE
        answer = await client.post("/predict", content=form + b"\r\n--x--\r\n", headers=kind)
        assert answer.status_code == 200

    with_client(Settings(), work)


def test_other_files_in_the_form_are_ignored() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.post("/predict", files={"image": FACE, "other": b"text"})
        assert answer.status_code == 200

    with_client(Settings(), work)


def test_no_address_or_path_is_ever_opened() -> None:
    """A listener on loopback hears nothing, whatever names it."""

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        calls = []
        server = await asyncio.start_server(lambda *_: calls.append(1), "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/face.png"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'.encode()
        for text in (address.encode(), b"file:///etc/passwd", b"/etc/passwd", svg):
            answers = [
                await client.post("/predict", data={"image": text.decode()}),
                await client.post("/predict", files={"image": text}),
                await client.post("/predict", files={"image": (text.decode(), text)}),
                await client.post("/predict", content=text, headers=PNG),
                await client.post(
                    "/predict", content=text, headers={"content-type": "text/uri-list"}
                ),
                await client.post(f"/predict?image={address}&url={address}", content=b""),
                await client.post("/predict", json={"image": address, "url": address}),
            ]
            assert all(400 <= answer.status_code < 500 for answer in answers)
            assert not any("root:" in answer.text for answer in answers)
        await asyncio.sleep(0.1)
        server.close()
        assert not calls

    with_client(Settings(), work)
