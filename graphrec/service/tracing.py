"""OpenTelemetry spans of requests, where `[serve] tracing` asks for them; needs the extra `otel`.

Where they go is said by the usual variables, as OTEL_EXPORTER_OTLP_ENDPOINT. FastAPI makes the spans itself.
"""

from __future__ import annotations

from graphrec.errors import DependencyError


def start() -> None:
    """Send the spans of this process away; raises DependencyError without the packages."""
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise DependencyError(
            "tracing needs packages that are not installed",
            got=f"no {error.name}",
            way_out="pip install 'graphrec[otel]', or serve.tracing = false",
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "graphrec"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
