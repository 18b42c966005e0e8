import asyncio
import io
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from torch import Tensor, nn

from service.inference.explain import OVERLAY_SIDE, Explainer, draw_overlay
from service.labels import LABELS
from service.network import NetworkConfig, PlainConfig, build_network
from service.routes.explanations import MAX_EXPLAINS
from service.settings import Settings
from tests.conftest import TINY, encode, make_faces
from tests.serving import hang_up, with_client

FACE = make_faces(1).images[0]


class Corner(nn.Module):
    """Label 2 is for the mean of the top left quarter, label 5 for that of the bottom right."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.ReLU(), nn.AvgPool2d(8))

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        logits = torch.zeros(len(images), len(LABELS))
        logits[:, 2] = features[:, :, :3, :3].mean((1, 2, 3))
        logits[:, 5] = features[:, :, 3:, 3:].mean((1, 2, 3))
        return logits


@pytest.mark.parametrize(("label", "quarter"), [(2, (0, 0)), (5, (1, 1))])
def test_the_map_lies_where_the_evidence_is(label: int, quarter: tuple[int, int]) -> None:
    face = np.zeros((48, 48), np.uint8)
    rows, columns = (slice(24 * part, 24 * part + 24) for part in quarter)
    face[rows, columns] = 200
    heat = Explainer(Corner().eval()).explain(face, label)
    assert heat.shape == (48, 48)
    assert heat.max() == pytest.approx(1)
    assert heat[rows, columns].mean() > 10 * heat.mean() / 4


@pytest.mark.parametrize("config", [TINY, PlainConfig(channels=(8, 8, 8, 8, 8))])
def test_both_families_are_explained(config: NetworkConfig) -> None:
    explainer = Explainer(build_network(config).eval().requires_grad_(False))
    for label in range(len(LABELS)):
        heat = explainer.explain(FACE, label)
        assert heat.min() >= 0
        assert heat.max() <= 1 + 1e-6
    assert not any(parameter.requires_grad for parameter in explainer.network.parameters())


def test_a_flat_face_speaks_for_nothing() -> None:
    torch.manual_seed(0)
    heat = Explainer(build_network(TINY).eval()).explain(np.full((48, 48), 9, np.uint8), 0)
    assert not heat.any()


def test_the_overlay_is_red_where_the_map_is_high() -> None:
    heat = np.zeros((48, 48), np.float32)
    heat[:24] = 1
    image = Image.open(io.BytesIO(draw_overlay(np.full((48, 48), 100, np.uint8), heat)))
    assert image.size == (OVERLAY_SIDE, OVERLAY_SIDE)
    red, green, _ = np.asarray(image).transpose(2, 0, 1).astype(int)
    assert (red[:100] > green[:100] + 50).all()
    assert (red[-100:] == green[-100:]).all()


def test_the_route_answers_both_forms() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        content = encode(FACE)
        answer = await client.post("/explain", files={"image": content})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert Image.open(io.BytesIO(answer.content)).format == "PNG"
        assert answer.headers["x-label"] in LABELS
        path = "/explain?format=json&label=sad&faces=auto"
        kind = {"content-type": "image/png"}
        found = (await client.post(path, content=content, headers=kind)).json()
        assert found["label"] == "sad"
        assert np.array(found["heat"]).shape == (48, 48)

    with_client(Settings(), work)


@pytest.mark.parametrize("route", ["predict", "predict_batch", "explain"])
@pytest.mark.parametrize("query", ["face=auto&x=1", "Faces=auto", "faces=auto&faces=crop"])
def test_misspelt_and_repeated_options_are_refused(route: str, query: str) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.post(f"/{route}?{query}", files={"image": encode(FACE)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_option")
        assert "The options here are faces" in answer.json()["error"]["message"]

    with_client(Settings(), work)


@pytest.mark.parametrize("query", ["format=svg", "label=bored", "face=1", "face=-1", "face=x"])
def test_bad_options_are_named(query: str) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.post(f"/explain?{query}", files={"image": encode(FACE)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_option")
        assert query.partition("=")[0] in answer.json()["error"]["message"]

    with_client(Settings(), work)


def test_a_broken_image_is_refused() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await client.post("/explain", files={"image": encode(FACE)[:100]})
        assert answer.status_code == 422

    with_client(Settings(), work)


class Slow(Corner):
    """Takes long enough for another map to begin meanwhile."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(0.1)
        return super().forward(images)


def slow_explainer(app: Starlette) -> Explainer:
    """The application's explainer, replaced by a slow one."""
    explainer = Explainer(Slow().eval())
    app.state.backend = replace(app.state.backend, explainer=explainer)
    return explainer


def test_who_hangs_up_does_not_spoil_anothers_map() -> None:
    mine, others = make_faces(4).images[:2]

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        own = slow_explainer(app).explain(mine, LABELS.index("fear"))
        for _ in range(5):
            body = {"type": "http.request", "body": encode(others)}
            await hang_up(app, body, path="/explain", query=b"label=fear")
            path = "/explain?format=json&label=fear"
            found = (await client.post(path, files={"image": encode(mine)})).json()
            np.testing.assert_allclose(found["heat"], own, atol=1e-3)

    with_client(Settings(), work)


def test_many_maps_leave_room_for_predictions() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        slow_explainer(app)
        image = {"image": encode(FACE)}
        path = "/explain?label=fear"
        posts = [asyncio.create_task(client.post(path, files=image)) for _ in range(40)]
        await asyncio.sleep(0.5)
        assert (await client.post("/predict", files=image)).status_code == 200
        answers = [await post for post in posts]
        refused = [answer.json()["error"]["code"] for answer in answers if answer.is_error]
        assert refused == ["unavailable"] * (40 - MAX_EXPLAINS)
        assert (await client.post(path, files=image)).status_code == 200

    with_client(Settings(max_requests=MAX_EXPLAINS + 4), work)


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("application/json", "", "application/json"),
        ("application/json", "?format=png", "image/png"),
        ("application/json, image/png", "", "image/png"),
        ("application/json, text/plain, */*", "", "image/png"),
        ("", "?format=json", "application/json"),
    ],
)
def test_who_takes_json_alone_gets_it(accept: str, query: str, kind: str) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        headers, files = {"accept": accept}, {"image": encode(FACE)}
        answer = await client.post(f"/explain{query}", files=files, headers=headers)
        assert answer.headers["content-type"] == kind

    with_client(Settings(), work)
