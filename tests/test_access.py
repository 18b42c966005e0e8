import logging
import os
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from service.errors import RequestError
from service.server.access import Meter
from service.settings import Settings
from tests.serving import with_client

FIRST, SECOND, ADMIN = "first-key-of-length", "second-key-of-length", "admin-key-of-length"
KEYS = {"api_keys": f"{FIRST},{SECOND}", "admin_key": ADMIN}


def test_keys_guard_all_but_the_open_paths() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/info", "/predict", "/predict_batch", "/metrics", "/admin/x", "/nowhere"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.json()["error"]["code"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"

    with_client(Settings.model_validate(KEYS), work)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {FIRST}"}, 200),
        ({"authorization": f"bearer  {SECOND}"}, 200),
        ({"x-api-key": SECOND}, 200),
        ({"x-api-key": SECOND, "authorization": "Bearer a-gateways-own"}, 200),
        ({"x-api-key": "a-gateways-own", "authorization": f"Bearer {SECOND}"}, 200),
        ({"x-api-key": FIRST, "authorization": "Basic Zm9vOmJhcg=="}, 200),
        ({"x-api-key": "other", "authorization": "Bearer other"}, 401),
        ({"x-api-key": SECOND[:-1]}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": ADMIN}, 401),
        ({"authorization": f"Basic {FIRST}"}, 401),
        ({"authorization": "Bearer é".encode()}, 401),
    ],
)
def test_any_of_the_keys_opens(headers: dict[str, str], status: int) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        assert (await client.get("/info", headers=headers)).status_code == status

    with_client(Settings.model_validate(KEYS), work)


def test_metrics_take_the_admin_key_alone() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        for key, status in ((FIRST, 401), (ADMIN, 200)):
            answer = await client.get("/metrics", headers={"x-api-key": key})
            assert answer.status_code == status
            assert status == 200 or "the admin key" in answer.json()["error"]["message"]
        # Another path to who compares it, the same one to a pattern that ends in "$".
        for key in (FIRST, ADMIN):
            answer = await client.get("/metrics%0a", headers={"x-api-key": key})
            assert answer.status_code == 404

    with_client(Settings.model_validate(KEYS), work)


def test_each_key_has_its_own_rate() -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        async def ask(key: str) -> httpx.Response:
            return await client.get("/info", headers={"x-api-key": key})

        answers = [await ask(FIRST) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await ask(SECOND)).status_code == 200

    with_client(Settings.model_validate({**KEYS, "rate_limit": 1}), work)


def test_workers_share_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACIAL_EMOTION_FOLDER", str(tmp_path))
    one, other = Meter(2, 0.5), Meter(2, 0.5)
    # A sparse file would have none, and the first write to a full disk kills the process.
    assert (tmp_path / "rates").stat().st_blocks
    one.count(0)
    with pytest.raises(RequestError):
        other.count(0)
    other.count(1)


def test_without_room_for_the_file_a_worker_counts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: int) -> None:
        raise OSError("no room")

    monkeypatch.setenv("FACIAL_EMOTION_FOLDER", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    one, other = Meter(2, 0.5), Meter(2, 0.5)
    assert "no room" in caplog.text
    one.count(0)
    other.count(0)
    with pytest.raises(RequestError):
        one.count(0)


@pytest.mark.parametrize("origins", ["", "https://page.example"])
def test_cors_is_off_unless_named(origins: str) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        preflight = {
            "origin": "https://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key",
        }
        answer = await client.options("/predict", headers=preflight)
        plain = await client.get("/info", headers={"origin": "https://page.example"})
        allowed = [
            answer.headers.get("access-control-allow-origin"),
            plain.headers.get("access-control-allow-origin"),
        ]
        assert allowed == [origins or None] * 2
        shown = plain.headers.get("access-control-expose-headers", "").split(", ")
        assert shown == (["Retry-After", "X-Label", "X-Request-ID"] if origins else [""])
        other = await client.get("/livez", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers

    with_client(Settings.model_validate({**KEYS, "cors_origins": origins}), work)
