"""wrk as the load generator."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "post.lua"


@dataclass(frozen=True)
class Load:
    """What wrk saw.

    Attributes:
        requests: answered with 200.
        refused: answered with another status.
        seconds: the run's.
        p50, p95, p99: latency of all, milliseconds.
    """

    requests: int
    refused: int
    seconds: float
    p50: float
    p95: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers of 200 a second."""
        return self.requests / self.seconds

    def fields(self) -> dict[str, float]:
        """JSON-ready form."""
        return {"rate": self.rate, "p50": self.p50, "p95": self.p95, "p99": self.p99}


def run_wrk(
    url: str,
    bodies: Path,
    connections: int,
    seconds: int,
    *,
    may_refuse: bool = False,
    threads: int = 1,
) -> Load:
    """Ask as hard as the server answers, with so many threads of wrk.

    Raises:
        SystemExit: wrk is not installed, or a request failed; another status than 200 is a
            failure, too, unless the server may refuse.
    """
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed (Debian's package wrk)")
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url],
        env=os.environ | {"BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    )
    return read_result(done.stdout, may_refuse)


def read_result(text: str, may_refuse: bool = False) -> Load:
    """The line that `post.lua` writes.

    Raises:
        SystemExit: as `run_wrk`.
    """
    line = next(line for line in text.splitlines() if line.startswith("RESULT "))
    found = json.loads(line.removeprefix("RESULT "))
    refused = found["refused"]
    if found["errors"] or (refused and not may_refuse):
        failed = found["errors"] + refused
        raise SystemExit(f"{failed} of {found['requests']} requests failed:\n{text}")
    good = found["requests"] - refused
    marks = found["p50"], found["p95"], found["p99"]
    return Load(good, refused, found["microseconds"] / 1e6, *marks)
