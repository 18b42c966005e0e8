"""The log's lines on their way out.

Whoever reads standard output may stop to (a terminal that is held, a collector that hangs), and
the event loop that wrote to it would stop as well.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from select import PIPE_BUF
from typing import Final

from service import metrics

MAX_LINES: Final = 10_000
"""Most of a worker that wait; about 3 MB. Further ones are dropped and counted."""

_GATHER_SECONDS: Final = 0.02
"""Lines of so long are written at once. Each time that the thread wakes up it takes the interpreter
from the event loop: one time a line cost half as much again as to write there."""

_FLUSH_SECONDS: Final = 1.0


class LogWriter(logging.Handler):
    """Hands lines to a thread, which writes them in order.

    Args:
        file: descriptor of what to write to; it stays open.
    """

    def __init__(self, file: int) -> None:
        super().__init__()
        self._file = file
        # One that may be put into also by what runs within its own put, such as a finaliser.
        self._waiting: SimpleQueue[str | threading.Event] = SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written; never blocks."""
        if self._waiting.qsize() >= MAX_LINES:
            metrics.LOG_DROPPED.inc()
            return
        try:
            # Here, since the request that it belongs to is known to its own context only.
            self._waiting.put(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, a second at most; also `logging` does so at exit."""
        written = threading.Event()
        self._waiting.put(written)
        written.wait(_FLUSH_SECONDS)

    def _write(self) -> None:
        while True:
            found = [self._waiting.get()]
            time.sleep(_GATHER_SECONDS)
            while not self._waiting.empty():
                found.append(self._waiting.get())
            for part in _pack([f"{item}\n".encode() for item in found if isinstance(item, str)]):
                self._write_part(part)
            for item in found:
                if isinstance(item, threading.Event):
                    item.set()

    def _write_part(self, lines: bytes) -> None:
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
        except OSError:
            # The disk is full, or the reader is gone.
            metrics.LOG_DROPPED.inc(lines.count(b"\n"))


def _pack(lines: list[bytes]) -> Iterator[bytes]:
    """Lines in parts that a pipe takes as a whole: all workers write to the same one."""
    part = b""
    for line in lines:
        if part and len(part) + len(line) > PIPE_BUF:
            yield part
            part = b""
        part += line
    yield part
