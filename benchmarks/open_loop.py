"""Requests at a given rate, whether or not the server keeps up.

A closed loop waits for the answer before it asks again, and so hides the queue that users
meet; here the arrivals are a Poisson process, and latency counts from when a request was due.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import uvloop

_TIMEOUT: Final = 30.0


@dataclass
class Answers:
    """What came back.

    Attributes:
        statuses: how often each status came; 0 for none at all.
        milliseconds: latency of each answer of 200.
        refused_milliseconds: latency of each answer of 429 or 503.
        without_retry_after: how many of those did not say when to come back.
        seconds: from the first request to the last answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    refused_milliseconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    seconds: float = 0.0

    def fields(self) -> dict[str, float]:
        """Answers of 200, others, and percentiles of latency in ms; JSON-ready."""
        good = self.statuses[200]
        found = {"good": float(good), "other": float(sum(self.statuses.values()) - good)}
        marks = np.percentile(self.milliseconds or [0.0], [50, 95, 99])
        return found | {f"p{p}": float(v) for p, v in zip((50, 95, 99), marks, strict=True)}


class Asker:
    """Keeps connections to a server and sends whole requests over them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """Send a request; its status, 0 for no answer, and whether it had `Retry-After`."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                while self.idle:
                    reader, writer = self.idle.pop()
                    # The server closes what was idle for too long.
                    if not reader.at_eof():
                        return await self._exchange((reader, writer), request)
                    writer.close()
                fresh = await asyncio.open_connection("127.0.0.1", self.port)
                return await self._exchange(fresh, request)
        except (OSError, EOFError, TimeoutError):
            return 0, False

    async def _exchange(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
    ) -> tuple[int, bool]:
        reader, writer = connection
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            lengths = [line[15:] for line in lines if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0]))
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in lines:
            writer.close()
        else:
            self.idle.append(connection)
        return int(head.split(b" ", 2)[1]), b"\r\nretry-after:" in head.lower()

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self.idle:
            writer.close()


async def ask_at(port: int, requests: list[bytes], rate: float, seconds: float) -> Answers:
    """Send requests, drawn at random, at a rate.

    Args:
        port: of the server on this machine.
        requests: whole HTTP requests.
        rate: mean requests a second.
        seconds: time until the last is sent.
    """
    asker, answers, chance = Asker(port), Answers(), random.Random(0)
    begun = due = time.perf_counter()
    running = set()
    while (due := due + chance.expovariate(rate)) < begun + seconds:
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        task = asyncio.create_task(_ask(asker, answers, chance.choice(requests), due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    answers.seconds = time.perf_counter() - begun
    asker.close()
    return answers


async def ask_hard(port: int, requests: list[bytes], connections: int, seconds: float) -> Answers:
    """Send the next request on each connection when the last is answered: what a server can do.

    Args:
        port: of the server on this machine.
        requests: whole HTTP requests, drawn at random.
        connections: requests at once.
        seconds: time until the last is sent.
    """
    asker, answers, chance = Asker(port), Answers(), random.Random(0)
    begun = time.perf_counter()

    async def ask() -> None:
        while (now := time.perf_counter()) < begun + seconds:
            await _ask(asker, answers, chance.choice(requests), now)

    await asyncio.gather(*(ask() for _ in range(connections)))
    answers.seconds = time.perf_counter() - begun
    asker.close()
    return answers


async def _ask(asker: Asker, answers: Answers, request: bytes, due: float) -> None:
    status, may_come_back = await asker.ask(request)
    took = 1000 * (time.perf_counter() - due)
    answers.statuses[status] += 1
    if status == 200:
        answers.milliseconds.append(took)
    elif status in (429, 503):
        answers.refused_milliseconds.append(took)
        answers.without_retry_after += not may_come_back


def run_fast(work: Coroutine[Any, Any, Answers]) -> Answers:
    """Run it on uvloop, which leaves more of the shared cores to the server."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def make_request(path: str, field_name: str, images: list[bytes]) -> bytes:
    """A whole multipart POST."""
    head = f'Content-Disposition: form-data; name="{field_name}"; filename="face"\r\n'
    parts = [b"--open\r\n" + head.encode() + b"\r\n" + image + b"\r\n" for image in images]
    body = b"".join(parts) + b"--open--\r\n"
    lines = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=open\r\n\r\n"
    )
    return lines.encode() + body
