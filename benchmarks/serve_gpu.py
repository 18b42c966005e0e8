"""The service on a GPU: the predictor alone, then the server over HTTP.

Each step adds its figures to `serve-gpu.json`, so that one that fails takes no other with it.
The load generator shares the cores with the server. `--device cpu` tries it without a GPU.

    apt-get install wrk; pip install -c constraints.txt -e '.[dev,compile]'
    export BENTOML_HOME=/tmp/bento; python -m search publish
    python -m benchmarks.serve_gpu bare --out benchmarks/results
    for n in 4 8 12; do python -m benchmarks.serve_gpu serve $n --out benchmarks/results; done
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bodies import make_images, write_bodies
from benchmarks.load import run_wrk
from benchmarks.tree import Tree
from search.training.plan import current_commit
from service.artifact import load_artifact
from service.inference.golden import draw_golden
from service.inference.predictor import Predictor, fold_norms, to_probabilities
from service.preprocess import standardize
from tests.live import free_port, serve_command, status

ARTIFACT: Final = Path("models/compact")
FACES: Final = 2048
Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def draw_faces(count: int) -> NDArray[np.uint8]:
    """Drawn faces, uint8 (count, 48, 48): shifted, of other contrast, with noise."""
    chance = np.random.default_rng(0)
    golden = draw_golden()
    faces = []
    for index in range(count):
        shifted = np.roll(golden[index % len(golden)], chance.integers(-6, 7, 2), (0, 1))
        levels = shifted * chance.uniform(0.6, 1.2) + chance.normal(0, 6, shifted.shape)
        faces.append(levels.clip(0, 255).astype(np.uint8))
    return np.stack(faces)


def make_plain(device: str) -> Answer:
    """The network as PyTorch runs it by default: kernel by kernel, float32 (TF32 on a GPU)."""
    artifact = load_artifact(ARTIFACT)
    network = fold_norms(artifact.network).to(device).to(memory_format=torch.channels_last)
    probabilities = partial(to_probabilities, artifact.temperature)

    @torch.inference_mode()
    def answer(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(faces)[:, None].to(device)
        rows: NDArray[np.float32] = probabilities(network, standardize(images)).cpu().numpy()
        return rows

    return answer


def without_ties(predictor: Predictor) -> Answer:
    """The passes in bfloat16 alone."""
    assert predictor.cuda and predictor.cuda.rounded
    rounded = predictor.cuda.rounded
    return lambda faces: rounded(torch.from_numpy(faces)[:, None]).numpy()


def measure_rate(answer: Answer, faces: NDArray[np.uint8], size: int, seconds: float) -> float:
    """Images a second in batches of one size."""
    starts = range(0, len(faces) - size + 1, size)
    for start in list(starts)[:3] * 3:
        answer(faces[start : start + size])
    count, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < seconds:
        start = starts[count // size % len(starts)]
        answer(faces[start : start + size])
        count += size
    return count / spent


def measure_bare(options: argparse.Namespace) -> dict[str, Any]:
    """Rates of the predictor alone by batch size, and how far it is from the CPU's float32."""
    torch.backends.cudnn.benchmark = options.tune
    faces = draw_faces(FACES)
    begun = time.perf_counter()
    predictor = Predictor(load_artifact(ARTIFACT), options.device, max(options.sizes))
    made = time.perf_counter()
    predictor.warm_up()
    ready = time.perf_counter()
    ways = {"predictor": predictor.predict, "plain": make_plain(options.device)}
    if predictor.cuda and predictor.cuda.rounded:
        ways["without near ties"] = without_ties(predictor)
    return {
        "make_seconds": made - begun,
        "warm_up_seconds": ready - made,
        "recorded": list(predictor.cuda.exact.sizes) if predictor.cuda else [],
        "rounded": bool(predictor.cuda and predictor.cuda.rounded),
        "images_per_second": {
            name: {size: measure_rate(way, faces, size, options.seconds) for size in options.sizes}
            for name, way in ways.items()
        },
        **compare(predictor.predict(faces), faces),
        "reserved_mb": torch.cuda.memory_reserved() / 2**20 if predictor.cuda else None,
    }


def compare(found: NDArray[np.float32], faces: NDArray[np.uint8]) -> dict[str, Any]:
    """How answers, float32 (N, 7), differ from the CPU's in float32."""
    wanted = Predictor(load_artifact(ARTIFACT), "cpu", 256).predict(faces)
    return {
        "faces": len(faces),
        "labels_that_differ": int((found.argmax(1) != wanted.argmax(1)).sum()),
        "largest_difference": float(np.abs(found - wanted).max()),
    }


def measure_serve(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of a server: its start, loads and memory."""
    port = free_port()
    variables = os.environ | {
        "EMOTION_DEVICE": options.device,
        "EMOTION_WORKERS": str(options.workers),
        "EMOTION_MAX_BATCH_SIZE": str(options.max_batch_size),
        "EMOTION_MAX_QUEUE": "8192",
        "EMOTION_DRAIN_SECONDS": "0",
        "EMOTION_LOG_LEVEL": "warning",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, *serve_command(port)]
    begun = time.perf_counter()
    with Tree.start(command, variables) as tree:
        try:
            address = f"http://127.0.0.1:{port}"
            await_ready(address, tree, options.workers)
            ready = time.perf_counter() - begun
            loads = measure_loads(address, tree, options)
            return {
                "settings": {k: v for k, v in variables.items() if k.startswith("EMOTION_")},
                "ready_seconds": ready,
                "loads": loads,
                "device_memory_mb": read_metric(address, "emotion_device_memory_bytes") / 2**20,
                "card_memory": read_card_memory(),
                "workers_mb": tree.largest,
                "memory_mb": tree.peak,
            }
        finally:
            print(tree.output()[-2000:], flush=True)


def await_ready(address: str, tree: Tree, workers: int) -> None:
    """Wait until all workers are ready.

    Raises:
        SystemExit: the server has left, or is not ready after a minute.
    """
    deadline = time.monotonic() + 60
    while status(f"{address}/readyz") != 200 or read_metric(address, "emotion_ready") < workers:
        if tree.ended() or time.monotonic() > deadline:
            raise SystemExit(f"{workers} workers are not ready")
        time.sleep(0.1)


def read_metric(address: str, name: str) -> float:
    """The sum of a metric over its labels; 0 where it is not shown."""
    text = httpx.get(f"{address}/metrics", timeout=60).text
    return sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)))


def measure_loads(address: str, tree: Tree, options: argparse.Namespace) -> dict[str, Any]:
    """Each load's figures: `/predict` by connections, `/predict_batch` by images a request."""
    images = make_images()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder) / "one", "image", [[image] for image in images])
        run_wrk(f"{address}/predict", bodies, 32, 1)
        for count in options.connections:
            load = measure_load(
                f"{address}/predict", bodies, count, options.seconds, size=1, tree=tree
            )
            found[f"/predict, {count} connections"] = load
        for size in options.batches:
            groups = [[images[(n + k) % len(images)] for k in range(size)] for n in range(8)]
            bodies = write_bodies(Path(folder) / str(size), "images", groups)
            load = measure_load(
                f"{address}/predict_batch", bodies, 32, options.seconds, size=size, tree=tree
            )
            found[f"/predict_batch of {size}, 32 connections"] = load
    return found


def measure_load(
    url: str, bodies: Path, connections: int, seconds: int, *, size: int, tree: Tree
) -> dict[str, float]:
    """What wrk saw of requests with `size` images, and what they took of the server."""
    address, names = url.rpartition("/")[0], ("emotion_batch_images", "emotion_inference_seconds")
    marks = [f"{name}_{part}" for name in names for part in ("sum", "count")]
    before = [read_metric(address, mark) for mark in marks]
    spent = tree.cpu_seconds()
    load = run_wrk(url, bodies, connections, seconds, may_refuse=True, threads=2)
    spent = tree.cpu_seconds() - spent
    after = [read_metric(address, mark) for mark in marks]
    faces, passes, inside, _ = (b - a for a, b in zip(before, after, strict=True))
    return {
        "images_per_second": size * load.rate,
        "p50_ms": load.p50,
        "p99_ms": load.p99,
        "refused": load.refused,
        "server_cores": spent / load.seconds,
        "mean_batch": faces / max(1, passes),
        "mean_pass_ms": 1000 * inside / max(1, passes),
    }


def read_card_memory() -> str | None:
    """What all processes hold of the GPU's memory, their contexts included, as nvidia-smi tells."""
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()


def describe_machine(device: str) -> str:
    """The accelerator, cores and PyTorch's version."""
    name = "no GPU" if device == "cpu" else torch.cuda.get_device_name(device)
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"


def add_result(path: Path, step: str, figures: dict[str, Any], machine: str | None) -> None:
    """Put a step's figures and its command into the file."""
    result = json.loads(path.read_text()) if path.exists() else {"commands": []}
    command = " ".join(["python -m benchmarks.serve_gpu", *sys.argv[1:]])
    result["commands"].append(f"{command}  # at {current_commit()}")
    if machine:
        result["machine"] = machine
    result[step] = figures
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def print_bare(found: dict[str, Any]) -> None:
    """A line for each way."""
    print({key: value for key, value in found.items() if key != "images_per_second"})
    for name, rates in found["images_per_second"].items():
        print(f"{name:>18}", *(f"{size}: {rate:,.0f}/s" for size, rate in rates.items()), sep="  ")


def print_serve(found: dict[str, Any]) -> None:
    """A line for each load."""
    print({key: value for key, value in found.items() if key not in ("loads", "settings")})
    for name, load in found["loads"].items():
        print(f"{name:>38}", *(f"{key} {value:,.1f}" for key, value in load.items()), sep="  ")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="the service on a GPU")
    steps = parser.add_subparsers(dest="step", required=True)
    bare = steps.add_parser("bare", help="the predictor alone")
    bare.add_argument("--sizes", nargs="+", type=int, default=[1, 4, 16, 64, 256, 1024])
    bare.add_argument("--tune", action="store_true", help="cuDNN tries its kernels (benchmark)")
    bare.add_argument("--seconds", type=float, default=1)
    serve = steps.add_parser("serve", help="the server")
    serve.add_argument("workers", type=int)
    serve.add_argument("--max-batch-size", type=int, default=256)
    serve.add_argument("--connections", nargs="*", type=int, default=[32, 128])
    serve.add_argument("--batches", nargs="*", type=int, default=[1, 16, 64, 256])
    serve.add_argument("--seconds", type=int, default=3)
    for step in (bare, serve):
        step.add_argument("--device", default="cuda")
        step.add_argument("--out", type=Path, default=Path("runs"), help="of serve-gpu.json")
    return parser.parse_args()


def main() -> None:
    """Measure a step, print it, add it to the results."""
    options = read_options()
    path = options.out / "serve-gpu.json"
    if options.step == "bare":
        found = measure_bare(options)
        name = "bare, tuned" if options.tune else "bare"
        add_result(path, name, found, describe_machine(options.device))
        print_bare(found)
    else:
        # Without PyTorch on the device here, which would take memory from the server's.
        found = measure_serve(options)
        add_result(path, f"{options.workers} workers", found, None)
        print_serve(found)


if __name__ == "__main__":
    main()
