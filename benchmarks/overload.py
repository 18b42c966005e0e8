"""Ten times what the service can do: what it still answers, and how fast it refuses the rest.

The goals: as many good answers a second as 90 % of the peak, a bounded p99 of the accepted, and
each refusal (429 or 503) within 100 ms with `Retry-After`. The load comes from the same machine, so
it takes cores from the service, too; `asked_times_peak` is what really was asked.

    apt-get install wrk; python -m benchmarks.overload --times 10 --seconds 20
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bodies import make_images, write_bodies
from benchmarks.load import run_wrk
from benchmarks.open_loop import ask_at, make_request
from tests.live import make_store, running


def run(times: float, seconds: float, home: Path) -> dict[str, Any]:
    """Peak of a closed loop, then an open loop at a multiple of it."""
    images = make_images()
    bodies = write_bodies(home / "single", "image", [[image] for image in images])
    requests = [make_request("/predict", "image", [image]) for image in images]
    variables = make_store(home / "store") | {"EMOTION_LOG_LEVEL": "warning"}
    with running(variables) as (address, _):
        port = int(address.rsplit(":", 1)[1])
        peak = run_wrk(f"{address}/predict", bodies, 32, 10).rate
        answers = asyncio.run(ask_at(port, requests, times * peak, seconds))
    goodput = answers.statuses[200] / answers.seconds
    refused = answers.refused_milliseconds or [0.0]
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "peak": peak,
        "asked_times_peak": sum(answers.statuses.values()) / answers.seconds / peak,
        "goodput_of_peak": goodput / peak,
        "accepted": answers.fields(),
        "refused_p99_ms": float(np.percentile(refused, 99)),
        "refused_without_retry_after": answers.without_retry_after,
        "statuses": {str(status): count for status, count in sorted(answers.statuses.items())},
    }


def main() -> None:
    """Run and print the figures as JSON."""
    parser = argparse.ArgumentParser(description="load at a multiple of capacity")
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(options.times, options.seconds, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
