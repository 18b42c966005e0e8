"""Real sockets against uvicorn: how large a request's head may be."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
import uvicorn

from service.server.request_heads import LimitedHeads

MOST = 5_000
START = b"POST /x HTTP/1.1\r\nHost: x\r\n"
BODY = b"b" * 300_000


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Says how long the body was."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    text = b"%d" % size
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@contextmanager
def served() -> Iterator[int]:
    class Limited(LimitedHeads):
        max_head_bytes = MOST

    config = uvicorn.Config(answer, http=Limited, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def exchange(port: int, *parts: bytes) -> bytes:
    """All that comes back until the server closes, or for half a second."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.5)
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            while more := connection.recv(65_536):
                received += more
        except OSError:
            pass
        return received


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        # No more than is too much: what comes after the answer may undo it.
        ([START, b"X-a: y\r\n" * 700], 431),
        ([START, b"X-a: ", b"y" * MOST], 431),
        ([b"GET /", b"x" * MOST], 414),
    ],
)
def test_large_heads_are_refused_before_they_end(parts: list[bytes], status: int) -> None:
    with served() as port:
        head, _, body = exchange(port, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-content-type-options: nosniff" in head and b"x-request-id: " in head
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "head_too_large"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (START + b"X-a: " + b"y" * MOST + b"\r\nContent-Length: 2\r\n\r\nab", 431),
        (b"GET /" + b"x" * MOST + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ],
)
def test_large_heads_in_one_read_are_refused_too(request_bytes: bytes, status: int) -> None:
    with served() as port:
        head, _, body = exchange(port, request_bytes * 2).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    # One answer, although two requests came.
    assert json.loads(body)["error"]["code"] == "head_too_large"


def test_endless_trailers_end_the_connection() -> None:
    chunked = START + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
    with served() as port:
        # With an end after all: were there no limit, the request would be answered.
        trailers = [b"X-a: " + b"y" * 1000 + b"\r\n"] * 20
        assert exchange(port, chunked, *trailers, b"\r\n") == b""


def test_a_large_body_makes_no_room_for_trailers() -> None:
    chunked = START + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n" % 2_000_000 + bytes(2_000_000) + b"\r\n0\r\n"
    trailers = [b"X-a: " + b"y" * 1000 + b"\r\n"] * 500
    with served() as port:
        answer = exchange(port, chunked, body, *trailers, b"\r\n")
    assert answer == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        START + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        START
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"64\r\n" + b"b" * 100 + b"\r\n" for _ in range(3000))
        + b"0\r\nX-Trailer: y\r\n\r\n",
    ],
)
def test_bodies_and_many_requests_on_a_connection_are_none_of_it(request_bytes: bytes) -> None:
    small = START + b"X-a: %b\r\nContent-Length: 0\r\n\r\n" % (b"y" * 3000)
    with served() as port:
        answers = exchange(port, *[small] * 5, request_bytes, *[small] * 5)
    assert answers.count(b"HTTP/1.1 200") == 11
    assert answers.count(b"\r\n\r\n300000") == 1
