"""Connections shared evenly by a server's workers.

The workers accept from one socket, and whichever wakes first takes a whole burst of new
connections. A client that keeps its connection then stays with that worker: of 32 connections
32 and 0 were seen, one core idle. So a worker that is clearly busier than another one closes a
connection after an answer now and then; the client's next one goes to who is idle.
"""

import math
import mmap
import time
from pathlib import Path
from typing import Final

from service.server.shared_folder import allocate

SMOOTHING_SECONDS: Final = 0.1
"""Time constant of the average; longer than a batch, whose answers come all at once."""

PAUSE_SECONDS: Final = 0.03
"""Between two closed connections; with less, too many go before the average follows."""

LEAD: Final = 2.0
SHARE: Final = 0.25
"""A worker is clearly busier with so many requests more than another, and this share of its."""

_FIELDS: Final = 4
"""Requests now, their average, when that was taken, and whether the worker is to be avoided."""


class Balance:
    """Requests in progress here and in the server's other workers.

    Alone until it joins others.
    """

    def __init__(self) -> None:
        self._mine = memoryview(bytearray(8 * _FIELDS)).cast("d")
        self._others: list[memoryview[float]] = []
        self._closed = 0.0

    def join(self, folder: Path, index: int, workers: int) -> None:
        """Share the figures with the other workers.

        Args:
            folder: of the server's workers only; the file `load` in it is theirs.
            index: of this worker, from 0; one that comes back has that of the one that died.
            workers: how many there are.

        Raises:
            OSError: the file cannot be made.
        """
        allocate(folder / "load", 8 * _FIELDS * workers)
        with (folder / "load").open("r+b") as file:
            shared = mmap.mmap(file.fileno(), 0)
        figures = memoryview(shared).cast("d")
        rows = [figures[_FIELDS * n : _FIELDS * (n + 1)] for n in range(workers)]
        self._mine = rows.pop(index)
        self._others = rows
        for field in range(_FIELDS):
            self._mine[field] = 0.0

    def enter(self) -> None:
        """Count a request that begins."""
        self._count(+1)

    def leave(self) -> None:
        """Count a request that ends."""
        self._count(-1)

    def avoid(self, avoid: bool) -> None:
        """Say whether this worker's answers are worth nothing, however idle it looks."""
        self._mine[3] = avoid

    def gives_away(self) -> bool:
        """Whether the connection of the request that is answered now should be closed."""
        now = time.monotonic()
        others = [row for row in self._others if not row[3]]
        if not others or now - self._closed < PAUSE_SECONDS:
            return False
        least = min(_average(row, now) for row in others)
        gives = self._mine[3] or _average(self._mine, now) - least > max(LEAD, SHARE * least)
        if gives:
            self._closed = now
        return bool(gives)

    def _count(self, change: int) -> None:
        now = time.monotonic()
        self._mine[1] = _average(self._mine, now)
        self._mine[0] += change
        self._mine[2] = now


def _average(row: "memoryview[float]", now: float) -> float:
    count, average, since, _ = row
    return count + (average - count) * math.exp(-max(0.0, now - since) / SMOOTHING_SECONDS)
