"""Requests and what their answers mean, without a connection.

Each is a generator that yields calls and is sent their outcomes, so blocking and asynchronous
clients share it.
"""

from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx

from facial_emotion_client.results import (
    EmotionError,
    Faces,
    Failure,
    Result,
    to_faces,
    to_failure,
    to_model,
    to_picture,
    to_results,
)
from facial_emotion_client.retry import Call, Outcome, Retry, address_of, persist

T = TypeVar("T")

Talk = Generator[Call, Outcome, T]
"""Yields calls, is sent their outcomes and returns what they amount to."""

_TOO_MUCH: Final = (408, 413)
"""The body was too slow or too large; half of it may not be."""

_LATE: Final = "deadline_exceeded"
"""What the service says of an image for which there was no time left."""


def ask_model(retry: Retry) -> Talk[str]:
    """The name:version of the model.

    Raises:
        EmotionError: there is no such answer.
    """
    outcome = yield from persist(Call("GET", "info"), retry)
    try:
        return understand(outcome, to_model)
    except EmotionError as error:
        # Each service has this path, so the address is wrong, not what is asked for.
        if error.status != 404:
            raise
        text = f"{address_of(outcome)} is not the address of a facial-emotion service."
        raise EmotionError(error.code, text, 404) from None


def ask_one(content: bytes, faces: bool, retry: Retry) -> Talk[Faces]:
    """The predictions for one image.

    Raises:
        EmotionError: there are none.
    """
    call = Call("POST", _path("predict", faces), (("image", content),))
    return understand((yield from persist(call, retry)), to_faces)


def ask_reason(
    content: bytes, label: str | None, face: int, faces: bool, retry: Retry
) -> Talk[bytes]:
    """The PNG of what led to a label.

    Raises:
        EmotionError: there is none.
    """
    options = {"faces": "auto" if faces else "crop", "face": face}
    query = urlencode(options | ({} if label is None else {"label": label}))
    outcome = yield from persist(Call("POST", f"explain?{query}", (("image", content),)), retry)
    return understand(outcome, to_picture, httpx.Response.read)


def ask_group(group: list[bytes | Failure], faces: bool, retry: Retry) -> Talk[list[Result]]:
    """One result for each item; what is a failure already is not sent.

    Raises:
        EmotionError: a whole request was refused.
    """
    contents = [item for item in group if isinstance(item, bytes)]
    answered = iter((yield from _ask_many(contents, faces, retry)))
    return [item if isinstance(item, Failure) else next(answered) for item in group]


def _ask_many(
    contents: list[bytes], faces: bool, retry: Retry, delay: float = 0.0
) -> Talk[list[Result]]:
    if not contents:
        return []
    path = _path("predict_batch", faces)
    call = Call("POST", path, tuple(("images", content) for content in contents), delay)
    outcome = yield from persist(call, retry, _is_late if len(contents) > 1 else lambda _: False)
    try:
        results = understand(outcome, lambda answer: to_results(answer, len(contents)))
    except EmotionError as error:
        if error.status not in _TOO_MUCH and error.code != _LATE:
            raise
        if error.code == _LATE and len(contents) == 1:
            raise
        if len(contents) == 1:
            return [Failure(error.code, error.message)]
        middle = len(contents) // 2
        wait = (retry.wait(outcome, 0) or 0.0) if _is_late(outcome) else 0.0
        first = yield from _ask_many(contents[:middle], faces, retry, wait)
        return first + (yield from _ask_many(contents[middle:], faces, retry))
    late = [n for n, item in enumerate(results) if isinstance(item, Failure) and item.code == _LATE]
    if late and len(contents) > 1:
        half = late[: max(1, len(contents) // 2)]
        for some in (half, late[len(half) :]):
            again = yield from _ask_many([contents[n] for n in some], faces, retry)
            for number, result in zip(some, again, strict=True):
                results[number] = result
    return results


def _is_late(outcome: Outcome) -> bool:
    """Whether there was no time for the whole group; half of it may be quick enough."""
    if not isinstance(outcome, httpx.Response) or outcome.status_code != 503:
        return False
    return _refusal(outcome).code == _LATE


def understand(
    outcome: Outcome,
    read: Callable[[Any], T],
    unpack: Callable[[httpx.Response], Any] = httpx.Response.json,
) -> T:
    """What an outcome holds.

    Args:
        outcome: of the last attempt.
        read: takes what a good answer holds, raises ValueError where it does not fit.
        unpack: gives `read` the answer's JSON, or something else of it.

    Raises:
        EmotionError: it is no good answer.
    """
    if isinstance(outcome, httpx.HTTPError):
        reason = str(outcome).rstrip(".") or type(outcome).__name__
        raise EmotionError("unreachable", f"No answer from {address_of(outcome)}: {reason}.")
    if outcome.status_code != 200:
        raise _refusal(outcome)
    try:
        return read(unpack(outcome))
    except ValueError as error:
        text = f"The answer is not the service's: {error}."
        raise EmotionError("unexpected_answer", text, 200) from None


def _refusal(response: httpx.Response) -> EmotionError:
    status = response.status_code
    try:
        failure = to_failure(response.json())
    except ValueError:
        text = f"{response.url} answered {status} {response.reason_phrase}".rstrip()
        return EmotionError(f"http_{status}", text, status)
    return EmotionError(failure.code, failure.message, status)


def _path(name: str, faces: bool) -> str:
    return f"{name}?faces=auto" if faces else name
