"""Real sockets against uvicorn: who brings no request is closed, who does is not."""

import asyncio
import gc
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from service.server.connections import Connections
from service.server.protocol import Protocol
from tests.serving import on_socket

LIMIT = 0.4
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
MEGABYTE = 2**20
LARGE = 40
ENDS: list[str] = []
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Slower than the limit, as a heavy request may be."""
    if scope["path"] == "/large":
        await answer_at_length(scope, receive, send)
        return
    await asyncio.sleep(2 * LIMIT if scope["path"] == "/slow" else 0)
    # Half a megabyte fits into a socket's buffers.
    body = bytes(MEGABYTE // 2) if scope["path"] == "/half" else b"ok"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(work: Callable[[Callable[[], Awaitable[Streams]]], Awaitable[None]]) -> None:
    """Run work against a watched server, with a way to open connections to it."""

    class Watched(Protocol):
        watcher = Connections(LIMIT)
        max_head_bytes = 65_536

    async def run() -> None:
        Watched.watcher.watch()
        async with on_socket(answer, Watched, log_level="error") as port:
            await work(lambda: asyncio.open_connection("127.0.0.1", port))

    asyncio.run(run())


async def seconds_to_close(reader: asyncio.StreamReader) -> float:
    begun = time.monotonic()
    # What was under way when it was closed is answered by a reset.
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    return time.monotonic() - begun


async def ask(streams: Streams, path: bytes = b"/") -> None:
    reader, writer = streams
    writer.write(HEAD.replace(b"/ ", path + b" ", 1) + b"\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"ok"), 5)).startswith(b"HTTP/1.1 200")


def test_a_silent_connection_is_closed() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        assert 0.7 * LIMIT < await seconds_to_close(reader) < 3 * LIMIT
        writer.close()

    serve(work)


def test_a_dripped_head_is_closed_on_new_and_kept_connections() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(b"a: b\r\n")
            await asyncio.sleep(LIMIT / 8)

    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        for kept in (False, True):
            streams = await connect()
            if kept:
                await ask(streams)
            dripping = asyncio.create_task(drip(streams[1]))
            assert await seconds_to_close(streams[0]) < 3 * LIMIT
            dripping.cancel()
            streams[1].close()

    serve(work)


def test_a_head_that_begins_with_the_end_of_another_request_is_waited_for() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        for _ in range(2):
            writer.write(HEAD + b"\r\n" + HEAD)
            await asyncio.wait_for(reader.readuntil(b"ok"), 5)
            writer.write(b"\r\n")
            await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        writer.write(HEAD + b"\r\n" + HEAD)
        await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        assert await seconds_to_close(reader) < 3 * LIMIT
        writer.close()

    serve(work)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_who_asks_for_another_protocol_is_answered_over_http(protocol: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
    upgrade += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"

    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        writer.write(HEAD + upgrade + HEAD + b"\r\n")
        for _ in range(2):
            answer = await asyncio.wait_for(reader.readuntil(b"ok"), 5)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close\r\n" not in answer
        writer.close()

    serve(work)


def test_a_connection_is_idle_once_a_body_is_there_that_nobody_waited_for() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        writer.write(HEAD.replace(b"GET", b"POST") + b"Content-Length: 200000\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        writer.write(bytes(200_000))
        await asyncio.sleep(3 * LIMIT)
        await ask((reader, writer))
        writer.close()

    serve(work)


def test_nothing_is_left_of_a_connection_that_was_reset() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        await ask((reader, writer))
        assert count_connections() == before + 1
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.sleep(0.2)
        assert count_connections() == before

    def count_connections() -> int:
        gc.collect()
        return sum(issubclass(type(found), Protocol) for found in gc.get_objects())

    before = count_connections()
    serve(work)


def test_idle_and_busy_connections_are_kept() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        streams = await connect()
        await ask(streams)
        await asyncio.sleep(3 * LIMIT)
        await ask(streams, b"/slow")
        await ask(streams)
        streams[1].close()

    serve(work)


def test_the_file_limit_is_raised() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 512));"
        "from service.server.connections import raise_file_limit; raise_file_limit();"
        "print(*r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["512", "512"], done.stderr


async def answer_at_length(_: Any, receive: Any, send: Any) -> None:
    """More than sockets hold; notes whether the client was there to its end."""
    await receive()
    headers = [(b"content-length", b"%d" % (LARGE * MEGABYTE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(LARGE):
        await send({"type": "http.response.body", "body": bytes(MEGABYTE), "more_body": True})
    await send({"type": "http.response.body"})
    ENDS.append((await receive())["type"])


def test_a_client_that_reads_no_more_is_dropped() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        ENDS.clear()
        reader, writer = await connect()
        writer.write(HEAD.replace(b"/ ", b"/large ", 1) + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20 * LIMIT):
            while not ENDS:
                await asyncio.sleep(LIMIT / 4)
        assert ENDS == ["http.disconnect"]
        # What lay in the sockets is less than all of it.
        with suppress(ConnectionResetError):
            assert len(await reader.read()) < LARGE * MEGABYTE
        writer.close()

    serve(work)


def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        reader, writer = await connect()
        writer.write(HEAD.replace(b"/ ", b"/large ", 1) + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(LARGE // 4):
            await asyncio.sleep(LIMIT / 2)
            await reader.readexactly(4 * MEGABYTE)
        writer.close()

    serve(work)


def test_what_the_kernel_holds_for_who_reads_no_more_goes_too() -> None:
    async def work(connect: Callable[[], Awaitable[Streams]]) -> None:
        _, other = await connect()
        address = other.get_extra_info("peername")
        other.close()
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(connection.connect, address)
            connection.sendall(HEAD.replace(b"/ ", b"/half ", 1) + b"\r\n")
            await asyncio.sleep(6 * LIMIT)
            connection.settimeout(5)
            received = 0
            with suppress(ConnectionResetError):
                while more := await asyncio.to_thread(connection.recv, MEGABYTE):
                    received += len(more)
            assert received < MEGABYTE // 2

    serve(work)
