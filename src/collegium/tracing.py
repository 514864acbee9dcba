"""Traces for OpenTelemetry: spans of requests, statements, deliveries and outgoing calls.

They are off unless TRACING is set, and the libraries of the extra ``collegium[otel]`` are loaded
only then. A span names routes, hosts and statements, never values: no path, parameter, address or
message of an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, Final, Protocol

from collegium import __version__
from collegium.settings import Settings, SettingsError

_FLUSH_MILLISECONDS: Final = 2000


class Span(Protocol):
    """What a span can be told while it is open."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Add a fact."""

    def update_name(self, name: str) -> None:
        """Rename it."""


class _NoSpan:
    """The span while tracing is off."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Do nothing."""

    def update_name(self, name: str) -> None:
        """Do nothing."""


_NONE: Final = nullcontext[Span](_NoSpan())
_on = SimpleNamespace(tracer=None)


def check(settings: Settings) -> None:
    """Check that the libraries are installed, if they are needed.

    Raises:
        SettingsError: TRACING is set, and they are not.
    """
    if settings.tracing and find_spec("opentelemetry") is None:
        message = "COLLEGIUM_TRACING needs more libraries: pip install 'collegium[otel]'"
        raise SettingsError(message)


def start(settings: Settings) -> Callable[[], None]:
    """Begin to export spans, if TRACING is set. Return a function that sends what is left.

    Where to, which share, and with which headers is said by the variables of OpenTelemetry
    (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, …).
    """
    if not settings.tracing:
        return _no_op
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same

    os.environ.setdefault("OTEL_SERVICE_NAME", "collegium")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _on.tracer = provider.get_tracer("collegium", __version__)

    def stop() -> None:
        _on.tracer = None
        provider.force_flush(_FLUSH_MILLISECONDS)
        provider.shutdown()

    return stop


def _no_op() -> None:
    """Do nothing: nothing was started."""


def is_on() -> bool:
    """Tell whether spans are recorded, so that nobody prepares one for nothing."""
    return _on.tracer is not None


def request_span(method: str, traceparent: str) -> AbstractContextManager[Span]:
    """Return the span of a request.

    Args:
        traceparent: the header of that name, if a trusted proxy sent it; else empty.
    """
    if _on.tracer is None:
        return _NONE
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - the same
        TraceContextTextMapPropagator,
    )

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    return _open(method, {"http.request.method": method}, SpanKind.SERVER, parent)


def client_span(name: str, attributes: Mapping[str, Any]) -> AbstractContextManager[Span]:
    """Return the span of a call of another service, or of a delivery."""
    if _on.tracer is None:
        return _NONE
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

    return _open(name, attributes, SpanKind.CLIENT, None)


def statement_span(backend: str, text: str) -> AbstractContextManager[Span]:
    """Return the span of a statement, without its values.

    Statements outside of every other span have none: the worker looks for work every second.
    """
    if _on.tracer is None:
        return _NONE
    from opentelemetry.trace import SpanKind, get_current_span  # noqa: PLC0415 - an extra

    if not get_current_span().is_recording():
        return _NONE
    verb = text.lstrip("( ").partition(" ")[0].upper()
    attributes = {"db.system.name": backend, "db.operation.name": verb, "db.query.text": text}
    return _open(verb, attributes, SpanKind.CLIENT, None)


def _open(
    name: str, attributes: Mapping[str, Any], kind: Any, parent: Any
) -> AbstractContextManager[Span]:
    # The message of an error may contain values.
    span: AbstractContextManager[Span] = _on.tracer.start_as_current_span(
        name,
        parent,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    )
    return span
