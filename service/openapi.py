"""The OpenAPI description of the routes, and the page that shows it."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.formats import FORMATS
from service.schemas import BatchAnswer, Failure, Info, Prediction

_IMAGE_TYPES: Final = tuple(f"image/{name.lower()}" for name in FORMATS)
_BINARY: Final = {"type": "string", "format": "binary"}

# BentoML ships Swagger UI's files, so the page needs no foreign server.
DOCS_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Facial emotion service</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static_content/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});</script>
</body></html>
"""


def describe_api() -> dict[str, Any]:
    """The document served at `/openapi.json`."""
    models: list[type[BaseModel]] = [Prediction, BatchAnswer, Failure, Info]
    _, schemas = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Facial emotion service",
            "version": "1",
            "description": "Names the expression in a face image. "
            "It sees an expression, not what someone feels.",
        },
        "paths": {
            "/predict": {"post": _predict()},
            "/predict_batch": {"post": _predict_batch()},
            "/info": {"get": _operation("The model that answers", Info, [])},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _predict() -> dict[str, Any]:
    content = {
        "multipart/form-data": {"schema": _form("image", _BINARY)},
        **{kind: {"schema": _BINARY} for kind in _IMAGE_TYPES},
    }
    operation = _operation("One face", Prediction, [400, 413, 415, 422, 503])
    return {**operation, "requestBody": {"required": True, "content": content}}


def _predict_batch() -> dict[str, Any]:
    schema = _form("images", {"type": "array", "items": _BINARY})
    operation = _operation("Many faces", BatchAnswer, [400, 413, 415, 503])
    return {
        **operation,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
    }


def _form(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [field], "properties": {field: schema}}


def _operation(summary: str, answer: type[BaseModel], errors: list[int]) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": (answer.__doc__ or "").strip(),
        "responses": {
            "200": _response("Answered", answer),
            **{str(status): _response("Refused", Failure) for status in errors},
        },
    }


def _response(text: str, model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": text, "content": {"application/json": {"schema": reference}}}
