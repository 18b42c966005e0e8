"""The route `/explain`."""

import asyncio
import time
from typing import Final

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.errors import RequestError, busy, late
from service.inference.backend import Backend
from service.inference.explain import draw_overlay
from service.labels import LABELS
from service.reading.decoding import See
from service.routes.disconnect import while_wanted
from service.routes.options import DRAWN, SEE, check_names, choose
from service.routes.uploads import read_image

MAX_EXPLAINS: Final = 16
"""Most in work. They wait for one thread, which takes 13 ms for each with the network `compact` and
66 ms with `accurate`; more would only hold the places of `Load` that predictions need."""


async def explain(request: Request) -> Response:
    """One image in, the heat map of a label out."""
    state = request.app.state
    check_names(request, "faces", "format", "label", "face")
    see = choose(request, "faces", SEE)
    drawn = choose(request, "format", DRAWN, "json" if wants_json(request) else "png")
    labels = {name: index for index, name in enumerate(LABELS)}
    label = choose(request, "label", labels) if "label" in request.query_params else None
    state.load.check()
    with state.load.buffering() as buffer:
        content = await read_image(request, state.settings, buffer)
        # Once for all that follows, and not before: a swap ends the old one after a while.
        backend: Backend = state.backend
        seconds = state.settings.answer_seconds
        if state.explains.locked():
            raise busy()
        async with state.explains:
            with state.load.working(1):
                deadline = time.monotonic() + seconds
                work = explain_face(
                    request, backend, content, see=see, label=label, deadline=deadline
                )
                face, index, heat = await while_wanted(request, work, seconds)
    if drawn:
        image = await anyio.to_thread.run_sync(draw_overlay, face, heat)
        return Response(image, media_type="image/png", headers={"X-Label": LABELS[index]})
    rows = [[round(float(level), 3) for level in row] for row in heat]
    return JSONResponse({"label": LABELS[index], "heat": rows, "model": backend.model})


def wants_json(request: Request) -> bool:
    """Whether the client takes JSON and no picture, as those made from the OpenAPI document do."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "image/" not in accepted and "*/*" not in accepted


async def explain_face(
    request: Request,
    backend: Backend,
    content: bytes,
    *,
    see: See,
    label: int | None,
    deadline: float,
) -> tuple[NDArray[np.uint8], int, NDArray[np.float32]]:
    """A face, the index of the named or likeliest label, and the heat map of it.

    The likeliest is that of all views, as `/predict` answers; the map is of the first.
    """
    state = request.app.state
    (seen,) = await state.decoder.decode([content], deadline, see)
    if isinstance(seen, RequestError):
        raise seen
    number = choose(request, "face", {str(n): n for n in range(len(seen.views))}, "0")
    views = seen.views[number]
    if label is None:
        rows = await backend.batcher.submit(views, deadline)
        if len(rows) < len(views):
            raise late()
        label = int(rows.mean(0).argmax())
    face = views[0]
    # In a thread of its own, which stays with a map that nobody waits for any more until it ends.
    heat = await asyncio.get_running_loop().run_in_executor(
        state.explaining, backend.explainer.explain, face, label
    )
    return face, label, heat
