"""Traces by OpenTelemetry, when a variable of its specification names a collector.

A request is a span, within the caller's trace where its `traceparent` names one (W3C Trace
Context), and reading images and asking the network are spans within it. They hold no image, no
score, no key and no address. Without the variable nothing is loaded. The specification's variables
for the exporter by OTLP over HTTP (headers, timeout, certificates), the batches, the sampler and
the resource (service name, attributes) are heeded, and so are `OTEL_SDK_DISABLED=true` and
`OTEL_TRACES_EXPORTER=none`; those of other exporters, protocols and propagators are not.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.types import Scope

from service.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The base address, to which the exporter adds `/v1/traces`, and that of traces as it is."""

_DISABLED: Final = "OTEL_SDK_DISABLED"
_NAME: Final = "facial-emotion"


class TracingError(RuntimeError):
    """Traces are wanted and cannot be sent."""


class Tracing:
    """Where spans of this process go; nowhere until `start`."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None

    def start(self) -> None:
        """Send spans to the collector from now on, if one is named; call once a process."""
        if not is_wanted():
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        own = {"service.name": _NAME, "service.version": VERSION}
        named = OTELResourceDetector().detect().attributes
        resource = Resource.create({**own, **named})
        self.provider = TracerProvider(resource=resource)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def stop(self) -> None:
        """Send what waits, then no more; blocking."""
        if self.provider:
            self.provider.shutdown()
        self.provider = None

    @contextmanager
    def request(
        self, scope: Scope, route: str, request_id: str, status: Callable[[], int]
    ) -> Iterator[None]:
        """A span around a request.

        Args:
            scope: of the request, HTTP.
            route: its path as the service knows it.
            request_id: as in the log.
            status: gives the answer's, 0 before there is one.
        """
        if self.provider is None:
            yield
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # Not within the current span: that would be BentoML's, which is not sent.
        outer = TraceContextTextMapPropagator().extract(Headers(scope=scope))
        with self.provider.get_tracer(_NAME).start_as_current_span(
            f"{scope['method']} {route}", context=outer, kind=SpanKind.SERVER
        ) as span:
            span.set_attribute("http.request.method", scope["method"])
            span.set_attribute("http.route", route)
            span.set_attribute("request.id", request_id)
            try:
                yield
            finally:
                span.set_attribute("http.response.status_code", status())
                if not 0 < status() < 500:
                    span.set_status(StatusCode.ERROR)

    @contextmanager
    def step(self, name: str, **attributes: int) -> Iterator[None]:
        """A span around a part of the request under way."""
        if self.provider is None:
            yield
            return
        tracer = self.provider.get_tracer(_NAME)
        with tracer.start_as_current_span(name, attributes=attributes, record_exception=False):
            yield


TRACING: Final = Tracing()


def is_wanted() -> bool:
    """Whether a collector is named and traces are not switched off."""
    disabled = os.environ.get(_DISABLED, "").strip().lower() == "true"
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return any(map(os.environ.get, ENDPOINTS)) and not disabled and exporter != "none"


def prepare_tracing() -> None:
    """Check that spans can be sent, and switch BentoML's own off; call before BentoML is loaded.

    Raises:
        TracingError: the exporter is not installed.
    """
    if not is_wanted():
        # BentoML wraps every request in spans, also where nobody collects them.
        os.environ[_DISABLED] = "true"
        return
    try:
        importlib.import_module("opentelemetry.exporter.otlp.proto.http")
    except ImportError:
        name = next(filter(os.environ.get, ENDPOINTS))
        text = f"{name} is set and the exporter is missing; install the extra: tracing"
        raise TracingError(text) from None
