"""Which spans are kept. Imports the OpenTelemetry SDK, so only `app.tracing` may import this, and only when it traces."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


class NoStrayQueries(Sampler):
    """As `then` decides, but without the SQL of what is no request and no job: heartbeats, sweeps, readiness checks."""

    def __init__(self, then: Sampler) -> None:
        self._then = then

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Drop a client span without a parent."""
        is_root = not trace.get_current_span(parent_context).get_span_context().is_valid
        if kind == SpanKind.CLIENT and is_root:
            return SamplingResult(Decision.DROP)
        return self._then.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """For logs."""
        return f"NoStrayQueries({self._then.get_description()})"
