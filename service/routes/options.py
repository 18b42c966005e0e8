"""Options in a request's query."""

from collections.abc import Mapping
from typing import Final, TypeVar

from starlette.requests import Request

from service.errors import RequestError
from service.reading.decoding import See, see_crop, see_photo

T = TypeVar("T")

SEE: Final[dict[str, See]] = {"crop": see_crop, "auto": see_photo}
"""The option `faces`: the image is a face, or faces are to be found in it."""

DRAWN: Final = {"png": True, "json": False}
"""The option `format` of `/explain`: whether the map is drawn over the face."""


def check_names(request: Request, *names: str) -> None:
    """Refuse options that a route does not have, and those that come twice.

    Raises:
        RequestError: 400; a misspelt option would give the answer to another question.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if set(given) - set(names) or len(given) > len(set(given)):
        text = f"The options here are {', '.join(names)}, each once at most."
        raise RequestError(400, "invalid_option", text)


def choose(request: Request, name: str, values: Mapping[str, T], default: str = "") -> T:
    """What an option in the query stands for; the first value where it has no default.

    Raises:
        RequestError: 400, not one of the values.
    """
    word = request.query_params.get(name, default or next(iter(values)))
    if word not in values:
        text = f"{name} must be one of: {', '.join(values)}."
        raise RequestError(400, "invalid_option", text)
    return values[word]
