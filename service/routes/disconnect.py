"""Work that ends when its client hangs up or its time is over."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import late

T = TypeVar("T")


async def while_wanted(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The work's result; the work is cancelled when nobody waits for it any more.

    Args:
        request: its body has been read.
        work: what to do.
        seconds: longest time for it.

    Raises:
        ClientDisconnect: the client hung up.
        RequestError: 503, the time is over.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        raise late()
    finally:
        task.cancel()
        gone.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
