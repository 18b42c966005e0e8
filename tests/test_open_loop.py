import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from benchmarks.open_loop import Answers, ask_at, ask_hard, make_request

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
RUDE = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"


REQUESTS = [make_request("/predict", "image", [b"x"])]


def ask_three_ways(
    ask: Callable[[int], Coroutine[Any, Any, Answers]], served: Iterator[int]
) -> Answers:
    """Ask a server that answers, refuses and refuses rudely by turns."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write((GOOD, BUSY, RUDE)[next(served) % 3])
        writer.close()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async def run() -> Answers:
        async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
            return await ask(server.sockets[0].getsockname()[1])

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_answers_and_refusals_are_told_apart() -> None:
    served = iter(range(10**6))
    answers = ask_three_ways(lambda port: ask_at(port, REQUESTS, 300, 0.5), served)
    total = next(served)
    assert sum(answers.statuses.values()) == total > 50
    assert answers.statuses[200] == len(answers.milliseconds)
    assert answers.statuses[503] == len(answers.refused_milliseconds)
    assert abs(answers.without_retry_after - total / 3) <= 1
    assert answers.seconds >= 0.4


def test_a_closed_loop_asks_as_fast_as_it_is_answered() -> None:
    served = iter(range(10**6))
    answers = ask_three_ways(lambda port: ask_hard(port, REQUESTS, 4, 0.3), served)
    assert sum(answers.statuses.values()) == next(served) > 100
    assert 0.3 <= answers.seconds < 5
