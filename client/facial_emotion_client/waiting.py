"""A policy that says once that the service is away or busy: patience is not to look like a hang."""

import sys
from dataclasses import dataclass, field
from typing import Final

import httpx
from tqdm import tqdm

from facial_emotion_client.retry import Outcome, Retry, address_of

_LONG: Final = 1.0
"""Seconds; a service that is busy for a moment is nothing to tell of."""


@dataclass(frozen=True)
class Telling(Retry):
    """`Retry` for the command, with one line where it waits for long."""

    _told: list[str] = field(default_factory=list, init=False, compare=False, repr=False)

    def wait(self, outcome: Outcome, attempt: int) -> float | None:
        """As `Retry.wait`."""
        wait = super().wait(outcome, attempt)
        if wait is not None and wait < self.total and not self._told:
            if not isinstance(outcome, httpx.Response):
                self._tell(address_of(outcome))
            elif wait > _LONG:
                self._tell(f"{address_of(outcome)}, which answers {outcome.status_code}")
        return wait

    def _tell(self, service: str) -> None:
        line = f"waits up to {self.total:g} s for {service} (--patience, --url)"
        self._told.append(line)
        # Beside a bar a print would tear it.
        tqdm.write(line, file=sys.stderr)
