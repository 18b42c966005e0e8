"""The Python client against a stand-in for the service, and against the service's own routes."""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from facial_emotion_client import (
    AsyncEmotionClient,
    EmotionClient,
    EmotionError,
    Failure,
    Prediction,
    Result,
    Retry,
)
from facial_emotion_client.groups import make_groups
from facial_emotion_client.retry import read_retry_after

from service.labels import LABELS
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.serving import serving

ANSWER: dict[str, Any] = {
    "label": "happy",
    "confidence": 0.7,
    "uncertain": False,
    "scores": {label: 0.7 if label == "happy" else 0.05 for label in LABELS},
    "model": "m:1",
}
QUICK = Retry(first=0.001, most=0.01, total=5)


def client_of(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> EmotionClient:
    options = {"retry": QUICK} | options
    return EmotionClient(transport=httpx.MockTransport(answer), **options)


def answer_batch(request: httpx.Request) -> httpx.Response:
    """One prediction a part, named after the part's content."""
    parts = request.content.split(b"\r\n\r\n")[1:]
    names = [part.split(b"\r\n")[0].decode() for part in parts]
    return httpx.Response(200, json={"results": [ANSWER | {"model": name} for name in names]})


def names_of(results: list[Result]) -> list[str]:
    return [item.code if isinstance(item, Failure) else item[0].model for item in results]


def test_predict_gives_a_typed_answer() -> None:
    with client_of(lambda _: httpx.Response(200, json=ANSWER)) as client:
        face = client.predict(b"image")
    assert face == Prediction("happy", 0.7, False, ANSWER["scores"], "m:1")


def test_predict_faces_gives_boxes() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.query == b"faces=auto"
        box = {"left": 1, "top": 2, "side": 3}
        return httpx.Response(200, json={"faces": [ANSWER | {"box": box}], "left_out": 3})

    with client_of(answer) as client:
        faces = client.predict_faces(b"image")
    (face,) = faces
    assert faces.left_out == 3
    assert face.box is not None
    assert (face.box.left, face.box.top, face.box.side) == (1, 2, 3)


def test_a_service_that_does_not_tell_how_many_were_left_out_is_understood() -> None:
    with client_of(lambda _: httpx.Response(200, json={"faces": [ANSWER]})) as client:
        assert client.predict_faces(b"image").left_out == 0


def test_explain_gives_a_png_of_what_is_asked_for() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        return httpx.Response(200, content=b"\x89PNG" if len(asked) < 3 else b"<html>")

    with client_of(answer) as client:
        assert client.explain(b"image") == b"\x89PNG"
        assert client.explain(b"image", label="a&b", face=1, faces=True) == b"\x89PNG"
        with pytest.raises(EmotionError, match="no PNG"):
            client.explain(b"image")
    assert asked[0] == {"faces": "crop", "face": "0"}
    assert asked[1] == {"faces": "auto", "face": "1", "label": "a&b"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_busy_is_asked_again_after_the_time_named(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("facial_emotion_client.client.sleep", waits.append)
    answers = iter([httpx.Response(status, headers={"Retry-After": "3"})])

    def answer(_: httpx.Request) -> httpx.Response:
        return next(answers, httpx.Response(200, json=ANSWER))

    with client_of(answer, retry=Retry()) as client:
        assert client.predict(b"image").label == "happy"
    assert waits == [3]


def test_a_broken_connection_is_asked_again_until_patience_ends() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("refused")

    patient = client_of(answer, retry=Retry(0.001, 0.01, 0.1))
    told = "No answer from http://localhost:3000: refused"
    with patient as client, pytest.raises(EmotionError, match=told) as caught:
        client.predict(b"image")
    assert (caught.value.code, caught.value.status) == ("unreachable", 0)
    assert len(asked) > 3


def test_a_certificate_that_is_not_trusted_is_not_asked_for_again() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLError as error:
            raise httpx.ConnectError(str(error)) from error

    with client_of(answer) as client, pytest.raises(EmotionError, match="self-signed"):
        client.predict(b"image")
    assert len(asked) == 1


def test_a_refusal_is_final_and_keeps_its_words() -> None:
    answers = iter([httpx.Response(422, json={"error": {"code": "no_face", "message": "None."}})])
    with client_of(lambda _: next(answers)) as client, pytest.raises(EmotionError) as caught:
        client.predict_faces(b"image")
    assert (caught.value.code, caught.value.message, caught.value.status) == (
        "no_face",
        "None.",
        422,
    )


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (httpx.Response(404, text="<html>"), "http_404"),
        (httpx.Response(200, text="<html>"), "unexpected_answer"),
        (httpx.Response(200, json={"label": 3}), "unexpected_answer"),
        (httpx.Response(200, json=[]), "unexpected_answer"),
    ],
)
def test_what_is_not_the_service_is_told(response: httpx.Response, code: str) -> None:
    with client_of(lambda _: response) as client, pytest.raises(EmotionError) as caught:
        client.predict(b"image")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (httpx.Response(404, text="<html>"), "http_404"),
        (httpx.Response(404, json={"error": {"code": "not_found", "message": "."}}), "not_found"),
    ],
)
def test_a_wrong_address_is_told(response: httpx.Response, code: str) -> None:
    url = "http://name:secret@host:3000/predict"
    told = "^http://host:3000/predict is not the address of a facial-emotion service"
    wrong = client_of(lambda _: response, url=url)
    with wrong as client, pytest.raises(EmotionError, match=told) as caught:
        client.model()
    assert (caught.value.code, caught.value.status) == (code, 404)


def test_many_images_go_in_groups_and_keep_their_order() -> None:
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(request.content.count(b"\r\n\r\n"))
        return answer_batch(request)

    with client_of(answer) as client:
        results = list(client.predict_many((b"%d" % n for n in range(70)), group_size=32))
    assert sizes == [32, 32, 6]
    assert names_of(results) == [str(n) for n in range(70)]


def test_an_unreadable_file_fails_alone(tmp_path: Path) -> None:
    with client_of(answer_batch) as client:
        results = list(client.predict_many([b"a", tmp_path / "absent", tmp_path, b"b"]))
    assert names_of(results) == ["a", "unreadable_file", "unreadable_file", "b"]


def test_a_request_too_large_is_halved_down_to_the_culprit() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b"culprit" in request.content:
            error = {"code": "body_too_large", "message": "Too large."}
            return httpx.Response(413, json={"error": error})
        return answer_batch(request)

    with client_of(answer) as client:
        results = list(client.predict_many([b"a", b"b", b"culprit", b"c"]))
    assert names_of(results) == ["a", "b", "body_too_large", "c"]


def test_items_without_time_are_asked_again_in_smaller_requests() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        answered = json.loads(answer_batch(request).content)
        late = {"error": {"code": "deadline_exceeded", "message": "Late."}}
        answered["results"][2:] = [late] * len(answered["results"][2:])
        return httpx.Response(200, json=answered)

    with client_of(answer) as client:
        results = list(client.predict_many(b"%d" % n for n in range(9)))
    assert names_of(results) == [str(n) for n in range(9)]


def test_a_group_without_time_is_halved_instead_of_sent_again() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if len(json.loads(answer_batch(request).content)["results"]) > 2:
            error = {"code": "deadline_exceeded", "message": "Late."}
            return httpx.Response(503, json={"error": error})
        return answer_batch(request)

    with client_of(answer) as client:
        results = list(client.predict_many(b"%d" % n for n in range(5)))
    assert names_of(results) == [str(n) for n in range(5)]


def test_groups_hold_to_the_bytes_of_a_request() -> None:
    groups = list(make_groups([b"x" * 300] * 5 + [b"y" * 9000], 32, 1600))
    assert [len(group) for group in groups] == [2, 2, 2]
    assert groups[-1][-1] == Failure("body_too_large", "The image is over 1088 bytes.")


def test_wrong_arguments_are_refused_at_once() -> None:
    for url in ("localhost:3000", "http://[::1"):
        with pytest.raises(ValueError, match="address"):
            EmotionClient(url)
    with pytest.raises(ValueError, match="key"):
        EmotionClient(key="a\nb")
    with pytest.raises(ValueError, match="negative"):
        Retry(first=-1)
    with client_of(answer_batch) as client:
        with pytest.raises(TypeError):
            client.predict("face.png")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="group_size"):
            list(client.predict_many([b"a"], group_size=0))


@pytest.mark.parametrize(("from_now", "low", "high"), [(100, 80, 100), (-100, 0, 0)])
def test_retry_after_may_be_a_date(from_now: int, low: float, high: float) -> None:
    seconds = read_retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=from_now)))
    assert seconds is not None
    assert low <= seconds <= high


def test_retry_after_may_be_a_number() -> None:
    assert read_retry_after("7") == 7


def test_junk_in_retry_after_is_none() -> None:
    assert [read_retry_after(text) for text in ("", "soon", "-1", "²")] == [None] * 4


def test_the_key_is_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=ANSWER | {"model": request.headers["X-API-Key"]})

    with client_of(answer, key="secret") as client:
        assert client.predict(b"image").model == "secret"


def test_async_asks_in_parallel_and_in_order() -> None:
    at_once, most = 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return answer_batch(request)

    async def run() -> list[Result]:
        images: Iterator[bytes] = (b"%d" % n for n in range(40))
        async with AsyncEmotionClient(transport=httpx.MockTransport(answer)) as client:
            return [item async for item in client.predict_many(images, group_size=4, parallel=3)]

    assert names_of(asyncio.run(run())) == [str(n) for n in range(40)]
    assert most == 3


def test_async_speaks_the_routes_language() -> None:
    images = [encode(face) for face in make_faces(7).images]

    async def run() -> tuple[str, Prediction, bytes, list[Result]]:
        async with serving(Settings()) as app:
            transport = httpx.ASGITransport(app=app)
            async with AsyncEmotionClient(transport=transport) as client:
                many = [item async for item in client.predict_many([*images, b"junk"])]
                with pytest.raises(EmotionError, match="label must be one of"):
                    await client.explain(images[0], label="bored")
                reason = await client.explain(images[0], label="sad")
                return await client.model(), await client.predict(images[0]), reason, many

    model, face, reason, many = asyncio.run(run())
    assert reason.startswith(b"\x89PNG")
    assert model == face.model == "stand-in:1"
    assert set(face.scores) == set(LABELS)
    assert names_of(many) == ["stand-in:1"] * 7 + ["unsupported_format"]
