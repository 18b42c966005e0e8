"""Requests a second of this service beside its peers: same network, images and load generator.

Every round starts each server in turn, asks it as hard as it answers (wrk, closed loop) with
each number of connections, then with phone photos of 12 megapixels among the faces, and stops it;
rounds alternate, so that a machine that slows down slows all. The medians' ratio to the best peer
is what to quote. All share the cores with wrk.

    apt-get install wrk; pip install -c constraints.txt -e '.[benchmark,search,dev]'
    python -m benchmarks.serve --out benchmarks/results
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.bare import measure_bare
from benchmarks.bodies import make_images, make_photos, write_bodies
from benchmarks.load import run_wrk
from benchmarks.provenance import tell_provenance
from benchmarks.serve_report import draw_chart, format_table
from benchmarks.tree import Tree
from tests.live import free_port, make_store

OURS: Final = "this service"


@dataclass(frozen=True)
class Server:
    """How to start one; `{port}` stands for the port."""

    name: str
    command: tuple[str, ...]


_BENTO: Final = ("-m", "bentoml", "serve")
SERVERS: Final = (
    Server(OURS, (*_BENTO, "service.app:FacialEmotion", "--port", "{port}")),
    Server(
        "FastAPI",
        (
            *("-m", "uvicorn", "benchmarks.peers.fastapi_app:app", "--port", "{port}"),
            *("--workers", str(os.cpu_count()), "--no-access-log", "--log-level", "warning"),
        ),
    ),
    Server("LitServe", ("-m", "benchmarks.peers.litserve_app", "{port}")),
    Server("BentoML", (*_BENTO, "benchmarks.peers.bentoml_app:Faces", "--port", "{port}")),
)


@contextmanager
def started(server: Server, image: bytes, home: Path) -> Iterator[tuple[str, Tree, float]]:
    """A server that answers: its address, its processes and the seconds that it took."""
    port = free_port()
    command = [sys.executable, *(word.format(port=port) for word in server.command)]
    variables = make_store(home) | {"EMOTION_LOG_LEVEL": "warning", "PYTHONPATH": "."}
    begun = time.perf_counter()
    with Tree.start(command, variables) as tree:
        address = f"http://127.0.0.1:{port}"
        while ask(address, image) is None:
            if time.perf_counter() - begun > 120 or tree.ended():
                raise SystemExit(f"{server.name} does not answer:\n{tree.output()}")
            time.sleep(0.05)
        yield address, tree, time.perf_counter() - begun


def ask(address: str, image: bytes) -> str | None:
    """The label of an image, None without an answer."""
    try:
        answer = httpx.post(f"{address}/predict", files={"image": image}, timeout=30)
    except httpx.TransportError:
        return None
    if answer.status_code != 200:
        return None
    found = answer.json()
    # BentoML's batchable endpoint answers with a list.
    return str((found[0] if isinstance(found, list) else found)["label"])


def measure_round(
    servers: list[Server], images: list[bytes], options: argparse.Namespace, home: Path
) -> dict[str, dict[str, Any]]:
    """Each server's figures."""
    bodies = write_bodies(home / "single", "image", [[image] for image in images])
    mixed = [[image] for image in images + make_photos()]
    photos = write_bodies(home / "photos", "image", mixed)
    found: dict[str, dict[str, Any]] = {}
    for server in servers:
        with started(server, images[0], home / "store") as (address, tree, seconds):
            labels = [ask(address, image) for image in images]
            url = f"{address}/predict"
            run_wrk(url, bodies, 16, 2)
            loads = {
                count: measure_load(tree, url, bodies, count, options.seconds)
                for count in options.connections
            }
            found[server.name] = {
                "ready_seconds": seconds,
                "labels": labels,
                "loads": loads,
                "photos": measure_load(tree, url, photos, 32, options.seconds),
                "memory_mb": tree.peak,
                "workers_mb": tree.largest,
            }
            if server.name == OURS:
                found[server.name]["batches"] = measure_batches(address, images, options, home)
        print(f"  {server.name}: {describe(loads)}", flush=True)
    return found


def measure_load(
    tree: Tree, url: str, bodies: Path, connections: int, seconds: int
) -> dict[str, float]:
    """What wrk saw, and the server's milliseconds of CPU a request."""
    before = tree.cpu_seconds()
    load = run_wrk(url, bodies, connections, seconds)
    spent = tree.cpu_seconds() - before
    return load.fields() | {"cpu_ms": 1000 * spent / load.requests}


def describe(loads: dict[int, dict[str, float]]) -> str:
    """One line of requests a second."""
    return ", ".join(f"{load['rate']:.0f}/s at {count}" for count, load in loads.items())


def measure_batches(
    address: str, images: list[bytes], options: argparse.Namespace, home: Path
) -> dict[int, float]:
    """Images a second through `/predict_batch`, by images a request."""
    rates = {}
    for size in options.batches:
        groups = [[images[(n + k) % len(images)] for k in range(size)] for n in range(4)]
        bodies = write_bodies(home / f"batch-{size}", "images", groups)
        load = run_wrk(f"{address}/predict_batch", bodies, 4, options.seconds)
        rates[size] = size * load.rate
    return rates


def merge(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds."""
    return {name: _median([found[name] for found in rounds]) for name in rounds[0]}


def _median(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _median([value[key] for value in values]) for key in values[0]}
    return statistics.median(values)


def main() -> None:
    """Measure, print the table, write results."""
    parser = argparse.ArgumentParser(description="this service beside its peers")
    names = [server.name for server in SERVERS]
    parser.add_argument("--servers", nargs="+", choices=names, default=names)
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 4, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--out", type=Path, help="folder for serve.json and serve.png")
    options = parser.parse_args()
    servers = [server for server in SERVERS if server.name in options.servers]
    images, rounds, bare = make_images(), [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            bare.append(measure_bare(options.artifact, 3))
            rounds.append(measure_round(servers, images, options, home))
            servers = servers[1:] + servers[:1]
    labels = [found.pop("labels") for turn in rounds for found in turn.values()]
    agree = sum(column.count(column[0]) == len(column) for column in zip(*labels, strict=True))
    result = {
        **tell_provenance(),
        "images_with_one_label": f"{agree} of {len(images)}",
        "bare_images_per_second": statistics.median(bare),
        "servers": merge(rounds),
    }
    print(format_table(result, OURS))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "serve.json").write_text(json.dumps(result, indent=1) + "\n")
        draw_chart(result, options.out / "serve.png")


if __name__ == "__main__":
    main()
