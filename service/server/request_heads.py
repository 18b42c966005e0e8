"""Request heads have a size; uvicorn with httptools takes any.

Its parser keeps the address, each header and each trailer until all of it is there, and Python
keeps them several times over, so that one connection could take all memory before any key is
asked for.
"""

from typing import Any

from service import metrics
from service.errors import RequestError
from service.server.raw_answer import RawAnswer
from service.server.request_log import OTHER, new_id, tell_request


def limit_heads(protocol: Any, most: int) -> None:
    """Refuse requests on each connection of a protocol whose head is too large, from now on.

    Counted is what came in and was not passed on as a body: the address and the headers, and with
    a body in chunks their sizes and the trailers, for which a body gives as much room again, but
    not more than `most`.

    Args:
        protocol: uvicorn's class for httptools, changed in place.
        most: bytes of a head; of trailers up to one read of the socket more may be taken.
    """
    receive, begin_message, begin, take_body, complete = (
        protocol.data_received,
        protocol.on_message_begin,
        protocol.on_headers_complete,
        protocol.on_body,
        protocol.on_message_complete,
    )

    def data_received(connection: Any, data: bytes) -> None:
        connection.head_bytes += len(data)
        receive(connection, data)
        if connection.head_bytes > most and not connection.transport.is_closing():
            _refuse(connection, most)

    # The next head may begin in the read that ended a request, and is not counted there.
    def on_message_begin(connection: Any) -> None:
        connection.head_bytes = max(connection.head_bytes, 1)
        begin_message(connection)

    # A head that came in one read, its request whole, would be counted too late above.
    def on_headers_complete(connection: Any) -> None:
        if _measure(connection) > most:
            _refuse(connection, most)
        elif not connection.head_refused:
            begin(connection)

    def on_body(connection: Any, body: bytes) -> None:
        connection.head_bytes = max(connection.head_bytes - 2 * len(body), -most)
        if not connection.head_refused:
            take_body(connection, body)

    def on_message_complete(connection: Any) -> None:
        connection.head_bytes = 0
        if not connection.head_refused:
            complete(connection)

    protocol.head_bytes = 0
    protocol.head_refused = False
    protocol.data_received = data_received
    protocol.on_message_begin = on_message_begin
    protocol.on_headers_complete = on_headers_complete
    protocol.on_body = on_body
    protocol.on_message_complete = on_message_complete


def _measure(connection: Any) -> int:
    lines = (len(name) + len(value) + len(b": \r\n") for name, value in connection.headers)
    return len(connection.url) + sum(lines)


def _refuse(connection: Any, most: int) -> None:
    if connection.head_refused:
        return
    connection.head_refused = True
    status = 431 if connection.headers and len(connection.url) <= most else 414
    # While a request is being answered, a second answer would be taken for its own.
    if connection.cycle is None or connection.cycle.response_complete:
        text = f"The request's address and headers are limited to {most} bytes."
        answer = RawAnswer(RequestError(status, "head_too_large", text))
        connection.transport.write(answer.encode(new_id(), closes=True))
    metrics.REJECTIONS.labels("head_too_large").inc()
    metrics.REQUESTS.labels(OTHER, status).inc()
    tell_request(OTHER, status, 0.0, 0.0)
    connection.transport.close()
