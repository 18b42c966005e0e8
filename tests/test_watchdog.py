import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from starlette.datastructures import State

from service.errors import RequestError
from service.inference.batching import Batcher
from service.server import watchdog
from service.server.balance import Balance
from service.server.health import Health
from tests.live import ROOT, running, wait_until
from tests.serving import even

FACE = (ROOT / "examples" / "face.png").read_bytes()


class Network:
    """Fails or hangs as it is told."""

    fails = False

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.fails:
            raise RuntimeError("out of order")
        self.answers.wait(5)
        return even(faces)


def watched(
    folder: Path, work: Callable[[Network, Any, list[int]], Awaitable[None]], patience: float
) -> None:
    """Run some work beside a watchdog; the list has an entry once it has let the worker leave."""

    async def run() -> None:
        network, left, balance = Network(), list[int](), Balance()
        balance.join(folder, 0, 2)
        batcher = Batcher(network, max_batch_size=8, max_wait_ms=0, stall_seconds=patience)
        batcher.start()
        backend = type("Backend", (), {"batcher": batcher})
        state = State({"backend": backend, "health": Health(), "balance": balance})
        watching = asyncio.create_task(watchdog.watch(state, lambda: left.append(1)))
        with pytest.raises(RequestError, match="failed"):
            network.fails = True
            await batcher.submit(np.zeros((1, 48, 48), np.uint8))
        await work(network, state, left)
        watching.cancel()
        await batcher.stop()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.02)


def test_a_worker_whose_network_fails_for_good_leaves(tmp_path: Path) -> None:
    async def work(_network: Network, state: Any, left: list[int]) -> None:
        await asyncio.sleep(0.05)
        assert state.balance.gives_away()
        assert not left
        await asyncio.sleep(0.4)
        assert left == [1]

    watched(tmp_path, work, patience=0.05)


def test_a_worker_whose_network_comes_back_stays(tmp_path: Path) -> None:
    async def work(network: Network, state: Any, left: list[int]) -> None:
        await asyncio.sleep(0.1)
        network.fails = False
        await asyncio.sleep(0.5)
        assert not left
        assert not state.balance.gives_away()

    watched(tmp_path, work, patience=0.1)


def test_a_worker_whose_network_fails_and_then_hangs_leaves(tmp_path: Path) -> None:
    async def work(network: Network, _state: Any, left: list[int]) -> None:
        network.answers.clear()
        network.fails = False
        await asyncio.sleep(0.6)
        network.answers.set()
        assert left == [1]

    watched(tmp_path, work, patience=0.05)


@pytest.mark.slow
def test_another_worker_takes_the_place(environment: dict[str, str], tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.write_text("")
    variables = {"FAILING": str(failing), "EMOTION_WORKERS": "1", "EMOTION_STALL_SECONDS": "1"}
    with running(environment | variables, "tests.failing_app:FacialEmotion") as (address, parent):

        def predict() -> int:
            try:
                files = {"image": FACE}
                return httpx.post(f"{address}/predict", files=files, timeout=5).status_code
            except httpx.HTTPError:
                return 0

        assert predict() == 200
        for child in psutil.Process(parent.pid).children(recursive=True):
            if predict() == 200:
                failing.write_text(str(child.pid))
        assert predict() == 503
        wait_until(lambda: predict() == 200)
        assert "emotion_worker_restarts_total 1.0" in httpx.get(f"{address}/metrics").text
