"""A long run at a share of what the service can do: memory, errors and latency by the minute.

Single faces, batches, photos with faces to find, heat maps and broken images are mixed; nothing
but 200 (and 4xx for the broken ones) may come back and memory must stay flat.

    python -m benchmarks.soak --minutes 30 --share 0.7 --out benchmarks/results
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bodies import make_images
from benchmarks.open_loop import ask_at, ask_hard, make_request, run_fast
from benchmarks.provenance import tell_provenance
from benchmarks.tree import memory_of
from tests.live import ROOT, make_store, running


def make_mix() -> list[bytes]:
    """Requests in the proportions of the run."""
    images = make_images()
    singles = [make_request("/predict", "image", [image]) for image in images]
    batches = [make_request("/predict_batch", "images", images[:2])]
    photo = (ROOT / "examples" / "photo.jpg").read_bytes()
    photos = [make_request("/predict?faces=auto", "image", [photo])]
    maps = [make_request("/explain", "image", images[:1])]
    broken = [make_request("/predict", "image", [images[0][:800]])]
    return 6 * singles + 8 * batches + photos + 2 * maps + 8 * broken


def run(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """All minutes of the run."""
    mix = make_mix()
    variables = make_store(home / "store") | {"EMOTION_LOG_LEVEL": "warning"}
    with running(variables) as (address, process):
        port = int(address.rsplit(":", 1)[1])
        hardest = run_fast(ask_hard(port, mix, 32, 20))
        capacity = sum(hardest.statuses.values()) / hardest.seconds
        rate = options.share * capacity
        print(f"capacity {capacity:.0f} requests/s; asking at {rate:.0f}/s", flush=True)
        minutes, statuses = [], Counter[int]()
        for number in range(options.minutes):
            begun = time.perf_counter()
            answers = run_fast(ask_at(port, mix, rate, 60))
            statuses += answers.statuses
            minute = answers.fields() | {"memory_mb": sum(memory_of(process.pid))}
            minute["seconds"] = time.perf_counter() - begun
            minutes.append(minute)
            text = ", ".join(f"{name} {value:.1f}" for name, value in minute.items())
            print(f"minute {number + 1}: {text}; {dict(answers.statuses)}", flush=True)
        scrape = httpx.get(f"{address}/metrics").text
    assert "emotion_predictions_total" in scrape
    return {
        **tell_provenance(),
        "capacity": capacity,
        "rate": rate,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "minutes": minutes,
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Memory and latency over the minutes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), constrained_layout=True)
    minutes = result["minutes"]
    left.plot([minute["memory_mb"] for minute in minutes])
    left.set(title="memory of all processes, MiB", xlabel="minute")
    for name in ("p50", "p99"):
        right.plot([minute[name] for minute in minutes], label=name)
    right.set(title=f"latency at {result['rate']:.0f} requests/s, ms", xlabel="minute")
    right.legend()
    for axis in (left, right):
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])
    figure.savefig(path, dpi=100)


def main() -> None:
    """Run, print each minute, write the results."""
    parser = argparse.ArgumentParser(description="a long run at a share of capacity")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--share", type=float, default=0.7)
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    print(result["statuses"])
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
        draw(result, options.out / "soak.png")


if __name__ == "__main__":
    main()
