"""A policy that says once that the service is away: its patience is not to look like a hang."""

import sys
from dataclasses import dataclass, field

import httpx
from tqdm import tqdm

from facial_emotion_client.retry import Outcome, Retry, address_of


@dataclass(frozen=True)
class Telling(Retry):
    """`Retry` for the command, with one line at the first request without an answer."""

    _told: list[str] = field(default_factory=list, init=False, compare=False, repr=False)

    def wait(self, outcome: Outcome, attempt: int) -> float | None:
        """As `Retry.wait`."""
        wait = super().wait(outcome, attempt)
        waits = wait is not None and wait < self.total
        if waits and isinstance(outcome, httpx.HTTPError) and not self._told:
            self._tell(address_of(outcome))
        return wait

    def _tell(self, address: str) -> None:
        line = f"waits up to {self.total:g} s for {address} (--patience, --url)"
        self._told.append(line)
        # Beside a bar a print would tear it.
        tqdm.write(line, file=sys.stderr)
