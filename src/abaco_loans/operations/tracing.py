"""Traces: what took how long, told to a collector of OpenTelemetry; off unless its standard variables name one.

Invariants: while it is off nothing of OpenTelemetry is imported; what goes wrong with a trace never fails what is
traced; attributes are names of releases, dates, counts and codes, and an error is its code alone: its words may name
a person or a file.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from abaco_loans import __version__
from abaco_loans.errors import AbacoError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_WHERE = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """Trace the block; the spans of blocks within it are its children."""
    tracer = _tracer()
    if tracer is None:
        yield
        return
    from opentelemetry.trace import StatusCode

    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as traced:
        try:
            yield
        except BaseException as error:
            code = error.code if isinstance(error, AbacoError) else type(error).__name__
            traced.set_attribute("error.type", code)
            traced.set_status(StatusCode.ERROR)
            raise


def note(**attributes: str | int) -> None:
    """Say more of the block that is traced now."""
    if _tracer() is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attributes(attributes)


class Phases:
    """The phases of a block that is traced, told when they end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open = self._begun()

    def mark(self, phase: str) -> None:
        """What was done since the last mark, or the beginning, was this phase."""
        if self._open is not None:
            self._open.update_name(f"{self._name}.{phase}")
            self._open.end()
            self._open = self._begun()

    def _begun(self) -> Span | None:
        """A span that is named when it ends; the last one, which no phase ends, is never told."""
        tracer = _tracer()
        return None if tracer is None else tracer.start_span(self._name)


@cache
def _tracer() -> Tracer | None:
    """The tracer of this process; None where nothing is to be traced."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or wanted == "none"
    if off or not any(os.environ.get(name) for name in _WHERE):
        return None
    if wanted != "otlp":
        _warn(f"traces are sent by OTLP over HTTP only, not by {wanted!a}")
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _warn("tracing needs an extra package: pip install 'abaco-loans[traces]'")
        return None
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "abaco", "service.version": __version__}
    try:
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except (OSError, ValueError) as error:
        _warn(f"the variables of OpenTelemetry cannot be used ({type(error).__name__})")
        return None
    atexit.register(provider.shutdown)
    return provider.get_tracer("abaco_loans", __version__)


def _warn(why: str) -> None:
    import logging

    logging.getLogger(__name__).warning("%s: nothing is traced", why)
