"""The log: one JSON object a line on standard output.

A line holds time, level, logger, message, worker, and in a request its id. It never holds an
image, a score, a key, a client's address or a path as a client wrote it.
"""

import json
import logging
import os
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

LOG: Final = logging.getLogger("bentoml.facial_emotion")
"""The service's own; its level is BentoML's."""

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")


class JsonFormatter(logging.Formatter):
    """Turns a record into a line; `extra={"details": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, "details", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


NOISE: Final = frozenset(
    {"Invalid HTTP request received.", "ASGI callable returned without completing response."}
)
"""What uvicorn warns of when a client sends no HTTP, or reads no more: no fault of the service."""


def configure_log(handler: logging.Handler) -> None:
    """Send all of this process's log through one handler, as lines of JSON."""
    handler.setFormatter(JsonFormatter())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    # BentoML hangs its own handlers, with its own format, on these.
    for name in ("bentoml", "uvicorn.error", "circus"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() not in NOISE)
    # A full disk or a closed pipe must not print a traceback for each line.
    logging.raiseExceptions = False


def set_log_level(level: str) -> None:
    """Log from a level on: `debug`, `info` or `warning`."""
    logging.getLogger("bentoml").setLevel(level.upper())


def flush_log() -> None:
    """Wait a moment until what was logged is written; blocking."""
    for handler in logging.root.handlers:
        handler.flush()
