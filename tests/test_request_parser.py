"""Real sockets against uvicorn: a request that asks for another protocol keeps its body."""

import asyncio
from typing import Any

import pytest

from service.server.connections import Connections
from service.server.protocol import Protocol
from tests.serving import on_socket

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
WHOLE = b"Content-Length: 4\r\n\r\nface"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2\r\nfa\r\n2\r\nce\r\n0\r\n\r\n"


class Server(Protocol):
    watcher = Connections(5)
    max_head_bytes = 4096


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    body = b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], body)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answers(*parts: bytes) -> bytes:
    """All that comes back for a connection's bytes, sent in so many parts."""

    async def run() -> bytes:
        async with on_socket(echo, Server, log_level="critical") as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.05)
            found = b""
            while chunk := await asyncio.wait_for(reader.read(65_536), 5):
                found += chunk
            writer.close()
        return found

    return asyncio.run(run())


def post(headers: bytes = UPGRADE, close: bool = False) -> bytes:
    closing = b"Connection: close\r\n" if close else b""
    return b"POST /predict?x=1 HTTP/1.1\r\nHost: x\r\n" + headers + closing


@pytest.mark.parametrize("body", [WHOLE, CHUNKED], ids=["whole", "chunked"])
@pytest.mark.parametrize("reads", [1, 2, 40])
def test_the_body_is_read_however_it_comes(body: bytes, reads: int) -> None:
    sent = post() + body + post(b"", close=True) + WHOLE
    step = -(-len(sent) // reads)
    if reads == 2:
        step = len(post())
    parts = [sent[start : start + step] for start in range(0, len(sent), step)]
    found = answers(*parts)
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert found.count(b"POST /predict face") == 2


def test_a_broken_body_is_refused_as_without_it() -> None:
    broken = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    for headers in (b"", UPGRADE):
        found = answers(post(headers) + broken)
        assert found.startswith(b"HTTP/1.1 400") and b"Invalid HTTP request received." in found


def test_a_head_is_still_limited() -> None:
    found = answers(post() + b"X-Long: " + b"a" * 5000 + b"\r\n" + WHOLE)
    assert found.startswith(b"HTTP/1.1 431") and found.count(b"HTTP/1.1") == 1


def test_thousands_at_once_are_answered() -> None:
    heads = b"GET / HTTP/1.1\r\nConnection:upgrade\r\nUpgrade:a\r\n\r\n" * 3000
    found = answers(heads + post(close=True).replace(b"POST", b"GET") + b"\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == 3001


@pytest.mark.parametrize("target", [b"x:443", b"/"])
def test_who_takes_this_for_a_proxy_is_refused(target: bytes) -> None:
    found = answers(b"CONNECT " + target + b" HTTP/1.1\r\nHost: x:443\r\n" + UPGRADE + b"\r\n")
    assert found.startswith(b"HTTP/1.1 4") or b"connection: close" in found
