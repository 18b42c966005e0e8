"""Options in a request's query."""

from collections.abc import Mapping
from typing import Final, TypeVar

from starlette.requests import Request

from service.decoding import See, see_crop, see_photo
from service.errors import RequestError

T = TypeVar("T")

SEE: Final[dict[str, See]] = {"crop": see_crop, "auto": see_photo}
"""The option `faces`: the image is a face, or faces are to be found in it."""


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
