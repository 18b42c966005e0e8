"""The OpenAPI description of the routes."""

import functools
import json
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.errors import REFUSALS
from service.labels import LABELS
from service.reading.formats import FORMATS
from service.routes.options import DRAWN, SEE
from service.routes.schemas import (
    BatchAnswer,
    Explanation,
    Failure,
    Info,
    Photo,
    Prediction,
    Reload,
    Status,
)
from service.version import VERSION

_MODELS: Final[tuple[type[BaseModel], ...]] = (
    Prediction,
    Photo,
    BatchAnswer,
    Explanation,
    Failure,
    Info,
    Status,
    Reload,
)
"""What the routes answer with."""

_IMAGE_TYPES: Final = tuple(f"image/{name.lower()}" for name in FORMATS)
_BINARY: Final = {"type": "string", "format": "binary"}


@functools.cache
def describe_api() -> bytes:
    """The document served at `/openapi.json`, as JSON."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    document = {
        "openapi": "3.0.3",
        "info": {
            "title": "Facial emotion service",
            "version": VERSION,
            "description": "Names the expression in a face image. "
            "It sees an expression, not what someone feels.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/predict_batch": {"post": _predict_batch()},
            "/explain": {"post": _explain()},
            "/info": {"get": _operation("info", "The model that answers", Info, [401, 429])},
            "/livez": {"get": _operation("livez", "Is the worker alive?", Status, [503])},
            "/readyz": {
                "get": _operation("readyz", "Does the worker take requests?", Status, [503])
            },
            "/metrics": {"get": _metrics()},
            "/admin/reload": {
                "post": _operation("reload", "Switch to the newest model", Reload, [401, 403, 409])
            },
        },
        "components": {"schemas": schemas["$defs"], "securitySchemes": _KEYS},
        # Where no keys are set none is needed.
        "security": [{}, *({name: []} for name in _KEYS)],
    }
    return json.dumps(document).encode()


_KEYS: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_FACES: Final = {
    "name": "faces",
    "in": "query",
    "description": "crop: the image is one face. auto: faces are found in it, and answered "
    "one by one with their boxes.",
    "schema": {"type": "string", "enum": list(SEE), "default": next(iter(SEE))},
}
_ERRORS: Final = [400, 401, 408, 413, 415, 422, 429, 501, 503]
_ANY_ERRORS: Final = [414, 431, 500]
"""What any request may be answered."""


def _predict() -> dict[str, Any]:
    operation = _operation("predict", "One face", Prediction, _ERRORS)
    either = [{"$ref": f"#/components/schemas/{name}"} for name in ("Prediction", "Photo")]
    operation["responses"]["200"]["content"]["application/json"]["schema"] = {"anyOf": either}
    return {**operation, "parameters": [_FACES], "requestBody": _image_body()}


def _predict_batch() -> dict[str, Any]:
    schema = _form("images", {"type": "array", "items": _BINARY})
    refusals = [status for status in _ERRORS if status != 422]
    return {
        **_operation("predictBatch", "Many faces", BatchAnswer, refusals),
        "parameters": [_FACES],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
    }


def _explain() -> dict[str, Any]:
    summary = "Which parts of a face led to a label"
    operation = _operation("explain", summary, Explanation, _ERRORS)
    found = operation["responses"]["200"]
    found["content"]["image/png"] = {"schema": _BINARY}
    labelled = {"description": "whose map the PNG shows", "schema": {"enum": list(LABELS)}}
    found["headers"] = {"X-Label": labelled}
    options = {
        "format": (
            "png: the face with the map over it. json: the map. Left out, it is png, unless "
            "`Accept` has application/json and no picture.",
            list(DRAWN),
        ),
        "label": ("whose map; the likeliest where it is left out", list(LABELS)),
    }
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"enum": values}}
        for name, (text, values) in options.items()
    ]
    number = {
        "name": "face",
        "in": "query",
        "description": "which face with faces=auto, 0 being the largest",
        "schema": {"type": "integer", "minimum": 0, "default": 0},
    }
    return {
        **operation,
        "parameters": [_FACES, number, *parameters],
        "requestBody": _image_body(),
    }


def _metrics() -> dict[str, Any]:
    answer = {"description": "Prometheus' text format", "content": {"text/plain": {}}}
    return {
        "operationId": "metrics",
        "summary": "The metrics of all workers",
        "responses": {"200": answer, **_refusals([401])},
    }


def _image_body() -> dict[str, Any]:
    content = {
        "multipart/form-data": {"schema": _form("image", _BINARY)},
        **{kind: {"schema": _BINARY} for kind in _IMAGE_TYPES},
    }
    return {"required": True, "content": content}


def _form(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [field], "properties": {field: schema}}


def _operation(
    name: str, summary: str, answer: type[BaseModel], errors: list[int]
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "description": (answer.__doc__ or "").strip(),
        "responses": {"200": _response("Answered", answer), **_refusals(errors)},
    }


def _refusals(errors: list[int]) -> dict[str, Any]:
    refusals = {status: REFUSALS[status] for status in sorted(errors + _ANY_ERRORS)}
    return {
        str(status): _response(f"{when} Codes: {', '.join(codes)}.", Failure)
        for status, (when, codes) in refusals.items()
    }


def _response(text: str, model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": text, "content": {"application/json": {"schema": reference}}}
