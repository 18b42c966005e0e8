"""Request heads have a size; uvicorn with httptools takes any.

Its parser keeps the address, each header and each trailer until all of it is there, and Python
keeps them several times over, so that one connection could take all memory before any key is
asked for.
"""

from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import metrics
from service.errors import RequestError
from service.server.raw_answer import RawAnswer
from service.server.request_log import OTHER, new_id, tell_request


class LimitedHeads(HttpToolsProtocol):
    """A connection that refuses requests whose head is too large.

    Counted is what came in and was not passed on as a body: the address and the headers, and with
    a body in chunks their sizes and the trailers, for which a body gives as much room again, but
    not more than the limit.

    Attributes:
        max_head_bytes: of a head; of trailers up to one read of the socket more may be taken.
        head_bytes: of the head that is coming in, as far as it has come; 0 between requests.
    """

    max_head_bytes: ClassVar[int]
    head_bytes = 0
    _head_refused = False

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self.head_bytes += len(data)
        super().data_received(data)
        if self.head_bytes > self.max_head_bytes and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        # It may begin in the read that ended another one, and is not counted there.
        self.head_bytes = max(self.head_bytes, 1)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the answer."""
        # A head that came in one read, its request whole, would be counted too late above.
        if self._measure_head() > self.max_head_bytes:
            self._refuse_head()
        elif not self._head_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        self.head_bytes = max(self.head_bytes - 2 * len(body), -self.max_head_bytes)
        if not self._head_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self.head_bytes = 0
        if not self._head_refused:
            super().on_message_complete()

    def _measure_head(self) -> int:
        lines = (len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
        return len(self.url) + sum(lines)

    def _refuse_head(self) -> None:
        if self._head_refused:
            return
        self._head_refused = True
        status = 431 if self.headers and len(self.url) <= self.max_head_bytes else 414
        text = f"The request's address and headers are limited to {self.max_head_bytes} bytes."
        error = RequestError(status, "head_too_large", text)
        # While a request is being answered, a second answer would be taken for its own.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(RawAnswer(error).encode(new_id(), closes=True))
        metrics.REJECTIONS.labels(error.code).inc()
        metrics.REQUESTS.labels(OTHER, status).inc()
        tell_request(OTHER, status, 0.0, 0.0, error.code)
        self.transport.close()
