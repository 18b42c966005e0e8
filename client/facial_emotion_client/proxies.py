"""Words for a proxy that the environment names and that cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_NAMED = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"


@contextmanager
def telling_proxies() -> Iterator[None]:
    """Make one kind of error of all that httpx raises where it reads the environment.

    Raises:
        ValueError: a proxy's address is none, or the package for its kind is not installed.
    """
    try:
        yield
    except ImportError:
        text = f"{_NAMED} names a SOCKS proxy, which needs: pip install 'httpx[socks]'"
        raise ValueError(text) from None
    except (ValueError, httpx.InvalidURL) as error:
        raise ValueError(f"{_NAMED} names no proxy: {error}") from None
