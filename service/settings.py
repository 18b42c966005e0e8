"""Every knob of the service: read from `EMOTION_*` environment variables, checked, in one place."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "EMOTION_"

Count = Annotated[int, Field(ge=1)]


class SettingsError(ValueError):
    """A setting is unknown or out of range; the message names the variable."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """One worker a core, up to eight; more cores go to the workers' threads."""
    return min(8, available_cores())


class Settings(BaseModel):
    """The service's configuration; field `x` is set by the variable `EMOTION_X`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("facial-emotion:latest", description="tag in the BentoML model store")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    workers: Count = Field(default_factory=default_workers, description="server processes")
    threads: Count = Field(
        default_factory=lambda data: max(1, available_cores() // data.get("workers", 1)),
        description="torch threads a worker",
    )
    max_batch_size: Count = Field(64, description="most images in one forward pass")
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        0.0, description="longest wait for a batch to fill while the network is idle, ms"
    )
    max_queue: Count = Field(1024, description="most images waiting in a worker; more get 503")
    max_body_bytes: Count = Field(32 * 2**20, description="largest request body")
    max_items: Count = Field(256, description="most images in one /predict_batch request")
    max_pixels: Count = Field(64_000_000, description="largest width x height of an image")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read and check all variables.

        Raises:
            SettingsError: an unknown `EMOTION_*` variable or a value out of range.
        """
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise SettingsError(f"{name}: {first['msg']}") from None
