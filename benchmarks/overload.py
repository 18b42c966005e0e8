"""Many times what the service can do: what it still answers, and how it refuses the rest.

The flood is wrk on many connections, each of which asks again at once when it was refused. A
few other clients (10 requests a second) tell how long answers and refusals take. The goals: as
many good answers a second as 90 % of the peak, a bounded p99 of the accepted, and each refusal
(429 or 503) within 100 ms with `Retry-After`. The flood takes cores from the service, too.

    apt-get install wrk; python -m benchmarks.overload --connections 1000 --seconds 20
"""

import argparse
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.bodies import make_images, write_bodies
from benchmarks.load import run_wrk
from benchmarks.open_loop import ask_at, make_request, run_fast
from benchmarks.provenance import tell_provenance
from tests.live import make_store, running

PROBES_A_SECOND: Final = 10


def run(connections: int, seconds: int, home: Path) -> dict[str, Any]:
    """The peak with 32 connections, then the flood."""
    images = make_images()
    bodies = write_bodies(home / "single", "image", [[image] for image in images])
    probes = [make_request("/predict", "image", [image]) for image in images]
    variables = make_store(home / "store") | {"EMOTION_LOG_LEVEL": "warning"}
    with running(variables) as (address, _), ThreadPoolExecutor(1) as thread:
        url = f"{address}/predict"
        peak = run_wrk(url, bodies, 32, 10).rate
        flood = thread.submit(run_wrk, url, bodies, connections, seconds, may_refuse=True)
        port = int(address.rsplit(":", 1)[1])
        answers = run_fast(ask_at(port, probes, PROBES_A_SECOND, seconds - 1))
        load = flood.result()
    refused = answers.refused_milliseconds or [0.0]
    return {
        **tell_provenance(),
        "connections": connections,
        "peak": peak,
        "asked_times_peak": (load.requests + load.refused) / load.seconds / peak,
        "goodput_of_peak": load.rate / peak,
        "accepted": answers.fields(),
        "refused_p50_ms": float(np.percentile(refused, 50)),
        "refused_p99_ms": float(np.percentile(refused, 99)),
        "refused_without_retry_after": answers.without_retry_after,
        "probes": {str(status): count for status, count in sorted(answers.statuses.items())},
    }


def main() -> None:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="many times what the service can do")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(options.connections, options.seconds, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
