"""The routes `/predict` and `/predict_batch`."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import metrics
from service.errors import RequestError, late
from service.inference.backend import Backend
from service.labels import LABELS
from service.reading.decoding import Decoder, See, Seen
from service.routes.disconnect import while_wanted
from service.routes.options import SEE, check_names, choose
from service.routes.uploads import read_files, read_image
from service.server.tracing import TRACING
from service.settings import Settings

NETWORK_SHARE: Final = 0.1
"""Of the time for an answer: kept for the network. Images that are not decoded by then are told as
late one by one, and so are those that the network has not looked at in time; the others get their
answers."""

TELLING_SHARE: Final = 0.2
"""Of the network's time: kept to tell so, before the whole request is late."""


async def predict(request: Request) -> Response:
    """One image in, one prediction out, or one for each face in it."""
    state = request.app.state
    check_names(request, "faces")
    see = choose(request, "faces", SEE)
    state.load.check()
    with state.load.buffering() as buffer:
        content = await read_image(request, state.settings, buffer)
        (result,) = await answer(request, [content], see)
    if isinstance(result, RequestError):
        raise result
    return JSONResponse(result)


async def predict_batch(request: Request) -> Response:
    """Many images in, one prediction or error for each out."""
    state = request.app.state
    settings: Settings = state.settings
    check_names(request, "faces")
    see = choose(request, "faces", SEE)
    state.load.check()
    with state.load.buffering() as buffer:
        contents = await read_files(request, settings, buffer, "images", settings.max_items)
        results = await answer(request, contents, see)
    return JSONResponse(
        {"results": [reject(item) if isinstance(item, RequestError) else item for item in results]}
    )


async def answer(
    request: Request, contents: list[bytes], see: See
) -> list[dict[str, Any] | RequestError]:
    """The prediction or the error for each image, while the client waits and time is left."""
    backend: Backend = request.app.state.backend
    seconds: float = request.app.state.settings.answer_seconds
    with request.app.state.load.working(len(contents)):
        work = look_at(request.app.state.decoder, backend, contents, seconds, see)
        return await while_wanted(request, work, seconds)


async def look_at(
    decoder: Decoder, backend: Backend, contents: list[bytes], seconds: float, see: See
) -> list[dict[str, Any] | RequestError]:
    """Decode and predict in so many seconds: the predictions or the error for each image."""
    deadline = time.monotonic() + seconds
    with TRACING.step("decode", images=len(contents)):
        until = deadline - NETWORK_SHARE * seconds
        decoded = await decoder.decode(contents, until, see, backend.batcher.coming)
    found = [np.concatenate(item.views) for item in decoded if isinstance(item, Seen)]
    if not found:
        return [item for item in decoded if isinstance(item, RequestError)]
    stack = np.concatenate(found)
    with TRACING.step("network", views=len(stack)):
        asked = deadline - TELLING_SHARE * (deadline - until)
        rows = iter(await backend.batcher.submit(stack, asked))
    return [
        item if isinstance(item, RequestError) else to_answer(item, rows, backend)
        for item in decoded
    ]


def to_answer(
    seen: Seen, rows: Iterator[NDArray[np.float32]], backend: Backend
) -> dict[str, Any] | RequestError:
    """An image's prediction, or its faces' with their boxes; late if not all of its rows came."""
    count, views = seen.views.shape[:2]
    own = list(islice(rows, count * views))
    if len(own) < count * views:
        return late()
    means = np.reshape(own, (count, views, len(LABELS))).mean(1)
    answers = [to_prediction(row, backend) for row in means]
    if seen.boxes is None:
        return answers[0]
    pairs = zip(seen.boxes, answers, strict=True)
    faces = [{"box": box.fields(), **answer} for box, answer in pairs]
    return {"faces": faces, "left_out": seen.left_out}


def reject(error: RequestError) -> dict[str, Any]:
    """Count the refusal of an item and give its body."""
    metrics.REJECTIONS.labels(error.code).inc()
    return error.body()


def to_prediction(row: NDArray[np.float32], backend: Backend) -> dict[str, Any]:
    """The answer for one row of probabilities, float32 (7,), counted."""
    answer = name_label(row, backend)
    metrics.PREDICTIONS.labels(answer["label"]).inc()
    metrics.CONFIDENCE.observe(answer["confidence"])
    if answer["uncertain"]:
        metrics.UNCERTAIN.inc()
    return answer


def name_label(row: NDArray[np.float32], backend: Backend) -> dict[str, Any]:
    """The answer for one row of probabilities, float32 (7,)."""
    scores = {label: round(float(p), 6) for label, p in zip(LABELS, row, strict=True)}
    label = LABELS[int(row.argmax())]
    return {
        "label": label,
        "confidence": scores[label],
        "uncertain": scores[label] < backend.card.get("uncertain_below", 0),
        "scores": scores,
        "model": backend.model,
    }
