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
        rate: requests a second.
        p50, p95, p99: latency, milliseconds.
    """

    requests: int
    rate: float
    p50: float
    p95: float
    p99: float

    def fields(self) -> dict[str, float]:
        """JSON-ready form."""
        return {"rate": self.rate, "p50": self.p50, "p95": self.p95, "p99": self.p99}


def run_wrk(url: str, bodies: Path, connections: int, seconds: int) -> Load:
    """Ask as hard as the server answers.

    Raises:
        SystemExit: wrk is not installed, or a request failed.
    """
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed (Debian's package wrk)")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url],
        env=os.environ | {"BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    )
    return read_result(done.stdout)


def read_result(text: str) -> Load:
    """The line that `post.lua` writes.

    Raises:
        SystemExit: a request failed.
    """
    line = next(line for line in text.splitlines() if line.startswith("RESULT "))
    found = json.loads(line.removeprefix("RESULT "))
    if found["errors"]:
        raise SystemExit(f"{found['errors']} of {found['requests']} requests failed:\n{text}")
    rate = found["requests"] / (found["microseconds"] / 1e6)
    return Load(found["requests"], rate, found["p50"], found["p95"], found["p99"])
