"""A model swap: in this process with a stand-in for the store, and on a real server under load."""

import asyncio
import json
import os
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from service import metrics
from service.artifact import CARD_FILE, WEIGHTS_FILE, load_artifact
from service.inference.backend import Backend, make_backend
from service.inference.golden import GOLDEN_FILE, write_golden
from service.inference.predictor import Predictor
from service.inference.store import Found
from service.server import swapper
from service.server.in_use import read_in_use, write_in_use
from service.server.swapper import Swapper
from service.settings import Settings
from tests.conftest import encode, make_faces
from tests.live import run_tool, running, wait_until
from tests.serving import Work, even, with_client
from tests.test_artifact import SHIPPED
from tests.test_faults import workers

FACE = encode(make_faces(1).images[0])
ADMIN = "admin-key-of-length"
KEY = {"x-api-key": ADMIN}
SETTINGS = Settings.model_validate({"admin_key": ADMIN, "device": "cpu", "answer_seconds": 0.3})


@pytest.fixture
def stored(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model that is the newest in the store."""
    write_golden(artifact, Predictor(load_artifact(artifact), "cpu", 64).predict)
    monkeypatch.setattr(swapper, "find_stored", lambda _: Found("stand-in:2", artifact))
    return artifact


async def ask_reload(client: httpx.AsyncClient, app: Starlette) -> httpx.Response:
    app.state.swapper = Swapper(app)
    return await client.post("/admin/reload", headers=KEY)


async def name_model(client: httpx.AsyncClient) -> str:
    answer = await client.post("/predict", files={"image": FACE})
    assert answer.status_code == 200
    name: str = answer.json()["model"]
    return name


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_newest_model_takes_over_and_the_old_one_leaves(stored: Path) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        old = app.state.backend
        assert await name_model(client) == "stand-in:1"
        answer = await ask_reload(client, app)
        assert answer.json() == {"model": "stand-in:2", "previous": "stand-in:1"}
        assert await name_model(client) == "stand-in:2"
        # Requests that began before the swap may still come to the old one.
        assert (await old.batcher.submit(make_faces(1).images)).shape == (1, 7)
        await asyncio.sleep(2 * SETTINGS.answer_seconds)
        with pytest.raises(Exception, match="shutting down"):
            await old.batcher.submit(make_faces(1).images)
        again = await client.post("/admin/reload", headers=KEY)
        assert again.json() == {"model": "stand-in:2", "previous": "stand-in:2"}
        await app.state.backend.batcher.stop()

    with_client(SETTINGS, work)


def test_memory_is_given_back_once_the_old_model_is_gone(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["stand-in:2", "stand-in:3"])
    gone: list[bool] = []

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        await ask_reload(client, app)
        old = weakref.ref(app.state.backend.batcher)
        monkeypatch.setattr(swapper, "give_back_memory", lambda: gone.append(old() is None))
        await client.post("/admin/reload", headers=KEY)
        assert await name_model(client) == "stand-in:3"
        await becomes(lambda: len(gone) == 2)
        assert gone[-1]
        await app.state.backend.batcher.stop()

    monkeypatch.setattr(swapper, "find_stored", lambda _: Found(next(names), stored))
    with_client(SETTINGS, work)


def test_a_request_ends_with_the_model_that_it_began_with(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        app.state.swapper, decode = Swapper(app), app.state.decoder.decode
        begun, swapped = asyncio.Event(), asyncio.Event()

        async def decode_across(*arguments: Any) -> Any:
            begun.set()
            await swapped.wait()
            return await decode(*arguments)

        monkeypatch.setattr(app.state.decoder, "decode", decode_across)
        asked = asyncio.create_task(name_model(client))
        await begun.wait()
        await app.state.swapper.reload()
        swapped.set()
        assert await asked == "stand-in:1"
        assert await name_model(client) == "stand-in:2"
        await app.state.backend.batcher.stop()

    # A garbage collection in this process, which spares nothing, takes a third of a second.
    with_client(SETTINGS.model_copy(update={"answer_seconds": 10.0}), work)


@pytest.mark.parametrize("fault", ["golden", "torn", "absent", "strange", "metrics"])
def test_a_faulty_model_is_refused_and_the_old_one_goes_on(
    stored: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "golden":
        write_golden(stored, even)
    elif fault == "torn":
        weights = stored / WEIGHTS_FILE
        weights.write_bytes(weights.read_bytes()[:-9])
    elif fault == "absent":
        shutil.rmtree(stored)
    elif fault == "metrics":
        monkeypatch.setattr(metrics, "show_model", lambda *_, **__: 1 / 0)
    else:
        monkeypatch.setattr(swapper, "make_backend", lambda *_: 1 / 0)

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        answer = await ask_reload(client, app)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_refused")
        assert "stand-in:1 stays in service" in answer.json()["error"]["message"]
        assert await name_model(client) == "stand-in:1"

    with_client(SETTINGS, work)


def test_reload_needs_the_admin_key(stored: Path) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        app.state.swapper = Swapper(app)
        answer = await client.post("/admin/reload")
        assert answer.status_code == (401 if keyed else 403)
        assert await name_model(client) == "stand-in:1"

    for keyed in (False, True):
        with_client(SETTINGS if keyed else Settings(), work)


@pytest.mark.parametrize("tag", ["stand-in:1", "stand-in:latest", "stand-in"])
def test_a_server_of_one_version_says_so_on_reload(stored: Path, tag: str) -> None:
    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        app.state.swapper = Swapper(app)
        answer = await client.post("/admin/reload", headers=KEY)
        if tag == "stand-in:1":
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_fixed")
        else:
            assert answer.json()["model"] == "stand-in:2"
            await app.state.backend.batcher.stop()

    with_client(SETTINGS.model_copy(update={"model": tag}), work)


Follow = Callable[[Callable[[str], None], Work], None]


@pytest.fixture
def follow(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Run `work` while a worker follows others; the first is called before it makes a model."""

    def run(before: Callable[[str], None], work: Work) -> None:
        def make(name: str, folder: Path, settings: Settings) -> Backend:
            before(name)
            return make_backend(name, folder, settings)

        async def within(client: httpx.AsyncClient, app: Starlette) -> None:
            app.state.swapper = Swapper(app)
            app.state.swapper.start()
            try:
                await work(client, app)
            finally:
                app.state.swapper.stop()
                await app.state.backend.batcher.stop()

        monkeypatch.setattr(swapper, "make_backend", make)
        with_client(SETTINGS, within)

    monkeypatch.setenv("FACIAL_EMOTION_FOLDER", str(tmp_path))
    monkeypatch.setattr(swapper, "FOLLOW_SECONDS", 0.01)
    monkeypatch.setattr(swapper, "find_stored", lambda tag: Found(tag, stored))
    return run


def test_workers_follow_once_and_not_at_once_again_to_a_refused_model(follow: Follow) -> None:
    made: list[str] = []

    def make(name: str) -> None:
        made.append(name)
        if name == "stand-in:bad":
            raise RuntimeError

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        assert read_in_use() == "stand-in:1"
        write_in_use("stand-in:2")
        await becomes(lambda: app.state.backend.model == "stand-in:2")
        write_in_use("stand-in:bad")
        await becomes(lambda: "stand-in:bad" in made)
        await asyncio.sleep(0.3)
        assert await name_model(client) == "stand-in:2"
        assert made == ["stand-in:2", "stand-in:bad"]

    follow(make, work)


def test_a_model_that_is_rolled_back_while_it_is_made_is_not_taken(follow: Follow) -> None:
    made: list[str] = []

    def roll_back(name: str) -> None:
        made.append(name)
        write_in_use("stand-in:1")

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        write_in_use("stand-in:2")
        await becomes(lambda: bool(made))
        for _ in range(50):
            assert app.state.backend.model == "stand-in:1"
            await asyncio.sleep(0.01)
        assert made == ["stand-in:2"]

    follow(roll_back, work)


@pytest.mark.parametrize("again", ["later", "reload"])
def test_a_worker_that_could_not_follow_tries_again(
    follow: Follow, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(name: str) -> None:
        made.append(name)
        if len(made) == 1:
            raise OSError("not there yet")

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        write_in_use("stand-in:2")
        await becomes(lambda: bool(made))
        if again == "reload":
            # As a worker does that was asked to reload and answers with the model already.
            write_in_use("stand-in:2")
        await becomes(lambda: app.state.backend.model == "stand-in:2")
        assert made == ["stand-in:2"] * 2

    if again == "later":
        monkeypatch.setattr(swapper, "RETRY_SECONDS", 0.1)
    follow(make, work)


def test_a_strange_fault_does_not_end_the_following(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def read() -> str | None:
        asked.append(1)
        if len(asked) == 1:
            raise ValueError("not text")
        return read_in_use()

    async def work(client: httpx.AsyncClient, app: Starlette) -> None:
        monkeypatch.setattr(swapper, "read_in_use", read)
        write_in_use("stand-in:2")
        await becomes(lambda: app.state.backend.model == "stand-in:2")

    monkeypatch.setattr(swapper, "RETRY_SECONDS", 0.1)
    follow(lambda _: None, work)


@pytest.fixture(scope="module")
def home(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store, to publish further models into."""
    folder = tmp_path_factory.mktemp("home") / "store"
    shutil.copytree(environment["BENTOML_HOME"], folder)
    return folder


@pytest.fixture(scope="module")
def server(environment: dict[str, str], home: Path) -> Iterator[tuple[str, int, dict[str, str]]]:
    """Address, pid and environment of a server of two workers."""
    settings = {"EMOTION_WORKERS": "2", "EMOTION_ADMIN_KEY": ADMIN}
    variables = {**environment, **settings, "BENTOML_HOME": str(home)}
    with running(variables) as (address, process):
        yield address, process.pid, variables


def publish(variables: dict[str, str], folder: Path, temperature: float) -> Path:
    """Another version of the shipped model in the store: the folder of its files."""
    shutil.copytree(SHIPPED, folder)
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | {"temperature": temperature}))
    done = run_tool(["-m", "search", "publish", "--artifact", str(folder)], variables)
    assert done.returncode == 0, done.stderr
    version = done.stdout.strip().partition(":")[2]
    return Path(variables["BENTOML_HOME"]) / "models" / "facial-emotion" / version


def count_workers(address: str, version: str) -> float:
    """How many workers answer with a model."""
    text = httpx.get(f"{address}/metrics", headers=KEY).text
    found = [line for line in text.splitlines() if "model_info{" in line and version in line]
    return float(found[0].split()[-1]) if found else 0.0


@pytest.mark.slow
def test_a_swap_under_load_drops_nothing_and_reaches_all_workers(
    server: tuple[str, int, dict[str, str]], tmp_path: Path
) -> None:
    address, _, variables = server
    new = publish(variables, tmp_path / "new", 2.0).name
    # As `make model` does; the new one stays the latest.
    old = run_tool(["-m", "search", "publish", "--if-new"], variables).stdout.strip()
    outcomes: list[int | str] = []
    done = threading.Event()

    def load() -> None:
        with httpx.Client(timeout=30) as client:
            while not done.is_set():
                try:
                    outcomes.append(
                        client.post(f"{address}/predict", files={"image": FACE}).status_code
                    )
                except httpx.TransportError as error:
                    outcomes.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    answer = httpx.post(f"{address}/admin/reload", headers=KEY, timeout=60)
    wait_until(lambda: count_workers(address, new) == 2)
    done.set()
    for thread in threads:
        thread.join()
    assert answer.json()["model"] == f"facial-emotion:{new}"
    assert len(outcomes) > 20
    assert set(outcomes) == {200}
    # Back again.
    run_tool(["-m", "search", "publish"], variables)
    answer = httpx.post(f"{address}/admin/reload", headers=KEY, timeout=60)
    assert answer.json() == {"model": old, "previous": f"facial-emotion:{new}"}
    wait_until(lambda: count_workers(address, old.partition(":")[2]) == 2)


@pytest.mark.slow
@pytest.mark.parametrize("file", [GOLDEN_FILE, WEIGHTS_FILE])
def test_a_bad_model_in_the_store_is_never_served(
    server: tuple[str, int, dict[str, str]], tmp_path: Path, file: str
) -> None:
    address, pid, variables = server
    before = httpx.get(f"{address}/info").json()["model"]
    bad = publish(variables, tmp_path / "bad", 3.0 if file == GOLDEN_FILE else 4.0)
    if file == GOLDEN_FILE:
        write_golden(bad, even)
    else:
        (bad / file).write_bytes(b"torn")
    answer = httpx.post(f"{address}/admin/reload", headers=KEY, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "model_refused")
    # A worker that comes back takes what the others serve, not what is newest.
    killed = min(workers(pid))
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(set(workers(pid)) - {killed}) == 2, 60)
    wait_until(lambda: count_workers(address, before.partition(":")[2]) == 2)
    assert {httpx.get(f"{address}/info").json()["model"] for _ in range(10)} == {before}
    run_tool(["-m", "bentoml", "models", "delete", "-y", f"facial-emotion:{bad.name}"], variables)
