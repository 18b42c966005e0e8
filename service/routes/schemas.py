"""What the service answers, as documented in its OpenAPI description."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.errors import REFUSALS
from service.labels import LABELS


class Scores(BaseModel):
    """Probability of each expression; they sum to 1."""

    angry: float
    disgust: float
    fear: float
    happy: float
    sad: float
    surprise: float
    neutral: float


class Prediction(BaseModel):
    """The expression that a face shows, as the network sees it."""

    label: str = Field(json_schema_extra={"enum": list(LABELS)})
    confidence: float = Field(description="probability of the label", ge=0, le=1)
    uncertain: bool = Field(
        description="whether the confidence is below the card's `uncertain_below`: "
        "too many answers like this one were wrong on held-out faces"
    )
    scores: Scores
    model: str = Field(description="name:version of the model that answered")


class Box(BaseModel):
    """A square in the picture as a browser shows it, in pixels; it may reach over the edge."""

    left: int
    top: int
    side: int


class Face(Prediction):
    """The expression of one face of a picture."""

    box: Box


class Photo(BaseModel):
    """The faces of a picture, the largest first: the answer with `faces=auto`."""

    faces: list[Face]
    left_out: int = Field(description="smaller faces found beyond the most answered", ge=0)


class Explanation(BaseModel):
    """How much each place of the 48x48 face contributed to a label, 0 to 1, row by row."""

    label: str = Field(json_schema_extra={"enum": list(LABELS)})
    heat: list[list[float]]
    model: str


class Error(BaseModel):
    """Why there is no answer."""

    code: str = Field(
        description="constant for programs",
        json_schema_extra={
            "enum": [*sorted({code for refusal in REFUSALS.values() for code in refusal.codes})]
        },
    )
    message: str = Field(description="sentence for people")


class Failure(BaseModel):
    """A refused request or item."""

    error: Error


class BatchAnswer(BaseModel):
    """One result or one error for each image, in the order sent."""

    results: list[Prediction | Photo | Failure]


class Info(BaseModel):
    """The service and the model that answer."""

    model_config = ConfigDict(extra="allow")

    version: str = Field(description="of the service")
    model: str
    faces: list[str] = Field(description="values that the option `faces` may have here")
    card: dict[str, Any] = Field(description="the model card")


class Status(BaseModel):
    """What a probe asks for."""

    status: str


class Reload(BaseModel):
    """Which model answers now, and which one did before."""

    model: str
    previous: str
