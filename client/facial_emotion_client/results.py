"""What the service answers, as types."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Box:
    """A square around a face, in pixels of the upright image; it may reach over the edge."""

    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Prediction:
    """The expression that a face shows, as the network sees it.

    Attributes:
        label: the likeliest expression.
        confidence: its probability, 0 to 1.
        uncertain: whether answers of this confidence are too often wrong.
        scores: probability of each expression; they sum to 1.
        model: name:version of the model that answered.
        box: where the face is; None where the image was taken for a face.
    """

    label: str
    confidence: float
    uncertain: bool
    scores: Mapping[str, float]
    model: str
    box: Box | None = None


class Faces(tuple[Prediction, ...]):
    """An image's faces, the largest first; exactly one where faces are not to be found.

    Attributes:
        left_out: how many more were found, smaller than these.
    """

    left_out: int

    def __new__(cls, faces: Iterable[Prediction], left_out: int = 0) -> Self:
        """Take the faces, and how many more there are."""
        made = super().__new__(cls, faces)
        made.left_out = left_out
        return made


@dataclass(frozen=True)
class Failure:
    """Why one image has no prediction.

    Attributes:
        code: short constant for programs: the service's, or `unreadable_file`.
        message: one sentence for people.
    """

    code: str
    message: str


Result = Faces | Failure
"""An image's faces, or why there are none."""


class EmotionError(Exception):
    """The service refused a request or gave no answer.

    Attributes:
        code: short constant for programs: the service's, `unreachable`, `unexpected_answer`,
            or `http_STATUS` where something before the service answered.
        message: one sentence for people.
        status: HTTP status code, 0 without an answer.
    """

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(f"{message} ({code})")
        self.code, self.message, self.status = code, message, status


def to_faces(answer: Any) -> Faces:
    """The predictions in the JSON answer for one image.

    Raises:
        ValueError: it holds none.
    """
    if isinstance(answer, dict) and "faces" in answer:
        faces = _take(answer, "faces", list)
        # A service of before did not tell it.
        left_out = _take({"left_out": 0} | answer, "left_out", int)
        return Faces(map(to_prediction, faces), left_out)
    return Faces([to_prediction(answer)])


def to_prediction(answer: Any) -> Prediction:
    """The prediction in a JSON object.

    Raises:
        ValueError: it holds none.
    """
    scores = _take(answer, "scores", dict)
    return Prediction(
        label=_take(answer, "label", str),
        confidence=float(_take(answer, "confidence", float | int)),
        uncertain=_take(answer, "uncertain", bool),
        scores={label: float(_take(scores, label, float | int)) for label in scores},
        model=_take(answer, "model", str),
        box=_to_box(answer["box"]) if "box" in answer else None,
    )


def to_failure(answer: Any) -> Failure:
    """The failure in a JSON object `{"error": {"code", "message"}}`.

    Raises:
        ValueError: it holds none.
    """
    error = _take(answer, "error", dict)
    return Failure(_take(error, "code", str), _take(error, "message", str))


def to_results(answer: Any, count: int) -> list[Result]:
    """The results of a batch of `count` images.

    Raises:
        ValueError: it does not hold as many.
    """
    items = _take(answer, "results", list)
    if len(items) != count:
        raise ValueError(f"{len(items)} results for {count} images")
    return [
        to_failure(item) if isinstance(item, dict) and "error" in item else to_faces(item)
        for item in items
    ]


def to_model(answer: Any) -> str:
    """The model's name:version in the answer of `/info`.

    Raises:
        ValueError: it holds none.
    """
    model: str = _take(answer, "model", str)
    return model


def to_picture(content: bytes) -> bytes:
    """The PNG in the answer of `/explain`.

    Raises:
        ValueError: it holds none.
    """
    if not content.startswith(b"\x89PNG"):
        raise ValueError("no PNG in it")
    return content


def _to_box(answer: Any) -> Box:
    return Box(*(_take(answer, name, int) for name in ("left", "top", "side")))


def _take(answer: Any, name: str, kind: Any) -> Any:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"no {name!r} in it")
    return value
