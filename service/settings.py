"""Every knob of the service: read from `EMOTION_*` environment variables, checked, in one place."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from service.cores import available_cores, default_workers
from service.log import LOG

PREFIX = "EMOTION_"
DEFAULT_MODEL = "facial-emotion:latest"

CLIENT_KEY = "EMOTION_API_KEY"
"""What the command `facial-emotion` reads: a shell that asks a server may start one, too."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


def split_words(value: object) -> object:
    """A list written as words between commas or blanks."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def check_key(key: SecretStr) -> SecretStr:
    """Refuse keys that are easily guessed, or that no header brings as they are."""
    text = key.get_secret_value()
    if not 16 <= len(text) <= 256:
        raise ValueError(f"a key must have 16 to 256 characters; one has {len(text)}")
    if not re.fullmatch("[!-~]+", text):
        raise ValueError("a key must be of printable ASCII characters without blanks; one is not")
    return key


def check_named(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Refuse a list without a key: who sets one does not want a service that is open to all."""
    if not keys:
        raise ValueError("names no key; to let everyone ask, leave the variable out")
    return keys


def check_origin(origin: str) -> str:
    """Refuse what no browser sends as an origin."""
    if not re.fullmatch(r"https?://[^/*\s]+", origin):
        raise ValueError(f"{origin} is none; an origin is like https://app.example, without a path")
    return origin


Words = BeforeValidator(split_words)
Origin = Annotated[str, AfterValidator(check_origin)]
Key = Annotated[SecretStr, AfterValidator(check_key)]


class SettingsError(ValueError):
    """A setting is unknown or out of range; the message names the variable."""


class Settings(BaseModel):
    """The service's configuration; field `x` is set by the variable `EMOTION_X`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(DEFAULT_MODEL, description="tag in the BentoML model store")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    workers: Count = Field(default_factory=default_workers, description="server processes")
    threads: Count = Field(
        default_factory=lambda data: max(1, available_cores() // data.get("workers", 1)),
        description="threads a worker for torch and for decoding; photos have twice as many",
    )
    max_batch_size: Count = Field(64, description="most images in one forward pass")
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        5.0, description="longest wait of a batch for images that are being decoded, ms"
    )
    max_queue: Count = Field(1024, description="most images in work in a worker; more get 503")
    max_body_bytes: Count = Field(32 * 2**20, description="largest request body")
    max_items: Count = Field(256, description="most images in one /predict_batch request")
    max_pixels: Count = Field(64_000_000, description="largest width x height of an image")
    max_whole_pixels: Count = Field(
        25_000_000, description="the same for PNG, WebP and BMP, which are decoded whole"
    )
    max_request_pixels: Count = Field(
        200_000_000, description="largest sum of width x height in one request"
    )
    max_requests: Count = Field(256, description="most requests in work in a worker; more get 503")
    max_buffer_bytes: Count = Field(
        256 * 2**20, description="most bytes of request bodies in a worker; more get 503"
    )
    max_head_bytes: Count = Field(
        65_536, description="most bytes of a request's address and headers; more get 431"
    )
    head_seconds: Seconds = Field(
        20.0, description="longest time for a request's head; then the connection is closed"
    )
    body_seconds: Seconds = Field(20.0, description="longest time for a request's body; then 408")
    answer_seconds: Seconds = Field(
        10.0, description="longest time from a request's body to its answer; then 503"
    )
    stall_seconds: Seconds = Field(
        10.0, description="longest forward pass; then not ready, and after thrice that replaced"
    )
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        2.0, description="time between not ready and closing after SIGTERM"
    )
    grace_seconds: Seconds = Field(
        25.0, description="time after SIGTERM within which the process leaves"
    )
    api_keys: Annotated[tuple[Key, ...], Words, AfterValidator(check_named)] = Field(
        (), description="keys that may predict, between commas or blanks"
    )
    api_keys_file: Path | None = Field(None, description="file of further such keys, one a line")
    admin_key: Key | None = Field(None, description="key for /metrics and /admin/reload")
    rate_limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="requests a second for each key, after a burst of twice that; 0: no limit"
    )
    cors_origins: Annotated[tuple[Origin, ...], Words] = Field(
        (), description="origins whose pages may call the service, between commas or blanks"
    )
    log_level: Literal["debug", "info", "warning"] = Field(
        "info", description="info logs each request, debug probes and scrapes, warning only faults"
    )

    @model_validator(mode="after")
    def check_together(self) -> "Settings":
        """Refuse settings that cannot be met together."""
        pairs = (
            ("max_items", "max_queue"),
            ("max_pixels", "max_request_pixels"),
            ("max_body_bytes", "max_buffer_bytes"),
            ("drain_seconds", "grace_seconds"),
        )
        for small, large in pairs:
            if getattr(self, small) > getattr(self, large):
                names = f"{PREFIX}{small.upper()} is over {PREFIX}{large.upper()}"
                raise ValueError(f"{names} ({getattr(self, small)} > {getattr(self, large)})")
        if self.rate_limit and not self.api_keys:
            raise ValueError(f"{PREFIX}RATE_LIMIT is for each key, and {PREFIX}API_KEYS names none")
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check all variables.

        Raises:
            SettingsError: an unknown `EMOTION_*` variable or a value out of range.
        """
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and name != CLIENT_KEY
        }
        if "api_keys_file" in values:
            values["api_keys"] = (
                f"{values.get('api_keys', '')} {_read_keys(values['api_keys_file'])}"
            )
        if CLIENT_KEY in environment and "api_keys" not in values:
            text = "%s is the client's and guards nothing here; a server's keys are %sAPI_KEYS"
            LOG.warning(text, CLIENT_KEY, PREFIX)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            text = first["msg"].removeprefix("Value error, ")
            # Often one that Kubernetes sets in the pods beside a Service called "emotion".
            if first["type"] == "extra_forbidden":
                text = "no such setting; the README lists them"
            name = f"{PREFIX}{str(first['loc'][0]).upper()}: " if first["loc"] else ""
            raise SettingsError(f"{name}{text}") from None


def _read_keys(path: str) -> str:
    if not path:
        text = "names no file; without one, leave the variable out"
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {text}")
    try:
        keys = Path(path).read_text()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: cannot be read ({error})") from None
    if not keys.strip():
        raise SettingsError(f"{PREFIX}API_KEYS_FILE: {path} holds no key")
    return keys
