import asyncio

from benchmarks.open_loop import Answers, ask_at, make_request

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
RUDE = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"


def test_answers_and_refusals_are_told_apart() -> None:
    served = iter(range(10**6))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write((GOOD, BUSY, RUDE)[next(served) % 3])
        writer.close()

    async def run() -> Answers:
        async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await answer(reader, writer)
            except asyncio.IncompleteReadError:
                writer.close()

        async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await ask_at(port, [make_request("/predict", "image", [b"x"])], 300, 0.5)

    answers = asyncio.run(asyncio.wait_for(run(), 20))
    total = next(served)
    assert sum(answers.statuses.values()) == total > 50
    assert answers.statuses[200] == len(answers.milliseconds)
    assert answers.statuses[503] == len(answers.refused_milliseconds)
    assert abs(answers.without_retry_after - total / 3) <= 1
    assert answers.seconds >= 0.4
