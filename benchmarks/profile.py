"""Where the CPU time of a request goes: the service's threads, and what its event loop does.

The threads' times are the system's own count; the event loop is divided as py-spy samples it,
each sample going to the innermost frame that a part names.

    apt-get install wrk; pip install -c constraints.txt -e '.[benchmark,search,dev]'
    python -m benchmarks.profile --connections 32 --out benchmarks/results
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.bodies import make_images, write_bodies
from benchmarks.load import run_wrk
from benchmarks.provenance import tell_provenance
from benchmarks.serve import OURS, SERVERS, started

THREADS: Final = {"predict": "network", "decode": "decoding", "MainThread": "event loop"}
OTHER: Final = "other threads"

PARTS: Final = {
    "reading the form": (
        "service/routes/uploads.py",
        "python_multipart/",
        "starlette/formparsers.py",
    ),
    "HTTP, writing": ("uvicorn/protocols/",),
    "metrics": ("prometheus_client/", "service/metrics.py"),
    "JSON": ("json/",),
    "threads and tasks": ("asyncio/", "concurrent/futures/", "threading.py"),
    "batching": ("service/inference/batching.py",),
    "routes and middlewares": ("starlette/", "service/"),
}
"""Parts of the event loop's work, by the files of their frames."""


def find_workers(processes: list[psutil.Process]) -> list[int]:
    """The processes that answer."""
    return [one.pid for one in processes if any("worker" in word for word in one.cmdline())]


def name_threads(pid: int) -> dict[int, str]:
    """What each thread of a process does, by its system id."""
    text = run_spy("dump", "--json", "--pid", str(pid))
    names = {thread["os_thread_id"]: thread["thread_name"] or "" for thread in json.loads(text)}
    return {
        task: next((kind for start, kind in THREADS.items() if name.startswith(start)), OTHER)
        for task, name in names.items()
    }


def thread_seconds(pid: int) -> Counter[int]:
    """Seconds of CPU so far of each thread, by its system id."""
    threads = psutil.Process(pid).threads()
    return Counter({thread.id: thread.user_time + thread.system_time for thread in threads})


def run_spy(*words: str) -> str:
    """What py-spy prints.

    Raises:
        SystemExit: it is not installed, or may not look into the process.
    """
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if not (command := shutil.which("py-spy", path=places)):
        raise SystemExit("py-spy is not installed (pip install py-spy)")
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    return done.stdout


def divide(samples: str) -> Counter[str]:
    """Samples of the event loop by part.

    Args:
        samples: py-spy's raw form, a line a stack: frames between semicolons, outermost first,
            then a blank and a count.
    """
    found = Counter[str]()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if "MainThread" in frames[0]:
            found[_part(frames)] += int(count)
    return found


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, files in PARTS.items():
            if any(name in frame for name in files):
                return part
    return "waiting for sockets"


def measure(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Milliseconds of CPU a request, by thread, and the parts of the event loop's."""
    bodies = write_bodies(home / "single", "image", [[image] for image in make_images()])
    server = next(server for server in SERVERS if server.name == OURS)
    with started(server, make_images(1)[0], home / "store") as (address, tree, _):
        run = partial(run_wrk, f"{address}/predict", bodies, options.connections, options.seconds)
        run()
        pids = find_workers(tree.members())
        before = {pid: thread_seconds(pid) for pid in pids}
        load = run()
        spent = {pid: thread_seconds(pid) - before[pid] for pid in pids}
        busiest = max(pids, key=lambda pid: spent[pid].total())
        # A second run, for sampling slows the process down.
        samples = sample(busiest, options.seconds, run)
        kinds = sum_up(spent)
    parts = divide(samples)
    loop = 1000 * kinds["event loop"] / load.requests
    return {
        **tell_provenance(),
        "connections": options.connections,
        "requests_per_second": load.rate,
        "cpu_ms": {name: 1000 * seconds / load.requests for name, seconds in kinds.items()},
        "event_loop_ms": {
            name: loop * count / parts.total() for name, count in parts.most_common()
        },
    }


def sum_up(spent: dict[int, Counter[int]]) -> Counter[str]:
    """Seconds of all processes' threads by what they do; a thread begins with its first work."""
    found = Counter[str]()
    for pid, seconds in spent.items():
        names = name_threads(pid)
        for thread, value in seconds.items():
            found[names.get(thread, OTHER)] += value
    return found


def sample(pid: int, seconds: int, load: Callable[[], object]) -> str:
    """Stacks of the threads that hold the interpreter, under a load."""
    with tempfile.NamedTemporaryFile(suffix=".raw") as file, ThreadPoolExecutor(1) as thread:
        words = ("--format", "raw", "--threads", "--gil", "--duration", str(seconds))
        spy = thread.submit(run_spy, "record", *words, "--pid", str(pid), "--output", file.name)
        load()
        spy.result()
        return Path(file.name).read_text()


def draw(result: dict[str, Any], path: Path) -> None:
    """Both divisions as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    titles = {"cpu_ms": "a request, ms of CPU", "event_loop_ms": "the event loop's share, ms"}
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        parts = dict(sorted(result[key].items(), key=lambda item: item[1]))
        bars = axis.barh(list(parts), list(parts.values()))
        axis.bar_label(bars, fmt="%.2f", padding=2)
        axis.set(title=title)
        axis.margins(x=0.15)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Measure, print the figures as JSON, draw them."""
    parser = argparse.ArgumentParser(description="where the CPU time of a request goes")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder for profile.json and profile.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "profile.json").write_text(json.dumps(result, indent=1) + "\n")
        draw(result, options.out / "profile.png")


if __name__ == "__main__":
    main()
