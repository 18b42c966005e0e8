"""Warnings about the data."""

import logging
from functools import cache
from typing import Final

LOG: Final = logging.getLogger(__name__)


@cache
def warn_once(text: str) -> None:
    """Tell what is amiss; a training reads its splits several times."""
    LOG.warning("%s", text)
