"""A parser for which a request that asks for another protocol is one as any other.

httptools ends such a request with its head and reads no body (MagicStack/httptools#124), although
a server that does not change over has to answer it over HTTP (RFC 9110, section 7.8). Java's client
asks for HTTP/2 with each request on a plain connection, and so does `curl --http2`.
"""

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE: Final = b"upgrade"


class RequestParser:
    """httptools' parser of requests, begun anew where one asks for another protocol.

    Args:
        protocol: told of the parts of a request; where `should_upgrade`, it is told of the head
            twice and is to pass over its first end and the request's.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._begin()

    def feed_data(self, data: bytes) -> None:
        """Read on.

        Raises:
            HttpParserError: what came is no request.
            HttpParserUpgrade: a client takes this for a proxy.
        """
        # Many such requests may come at once: no copy of the rest for each.
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                if not self.should_upgrade():
                    raise
                head, (end,) = self._head_without_upgrade(), upgrade.args
                self._begin()
                self._parser.feed_data(head)
                rest = rest[end:]
            else:
                return

    def should_upgrade(self) -> bool:
        """Whether the request asks for another protocol and was not begun anew."""
        # A proxy's method counts as an upgrade, too, and has no such header.
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def should_keep_alive(self) -> bool:
        """Whether the connection may bring more requests."""
        kept: bool = self._parser.should_keep_alive()
        return kept

    def get_http_version(self) -> str:
        """Of the request, such as 1.1."""
        version: str = self._parser.get_http_version()
        return version

    def get_method(self) -> bytes:
        """Of the request, such as POST."""
        method: bytes = self._parser.get_method()
        return method

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self._protocol)
        # As uvicorn sets it, so that what follows a request that closes is no error.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_upgrade(self) -> bytes:
        version = self.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.get_method(), self._protocol.url, version)]
        lines += [b"%b: %b" % pair for pair in self._protocol.headers if pair[0] != _UPGRADE]
        return b"\r\n".join([*lines, b"", b""])
