"""Spans as OTLP JSON: protobuf's JSON mapping, but with ids in hex and enums as numbers, as OTLP wants it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

Json: TypeAlias = dict[str, Any]

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


def encode(spans: Iterable[ReadableSpan]) -> bytes:
    """One ExportTraceServiceRequest, without a line break in it."""
    sorted_in: dict[Resource, dict[InstrumentationScope | None, list[Json]]] = {}
    for span in spans:
        sorted_in.setdefault(span.resource, {}).setdefault(span.instrumentation_scope, []).append(_span(span))
    return msgspec.json.encode({"resourceSpans": [_of_resource(*item) for item in sorted_in.items()]})


def _of_resource(resource: Resource, scopes: Mapping[InstrumentationScope | None, Sequence[Json]]) -> Json:
    return {
        "resource": {"attributes": _attributes(resource.attributes)},
        "scopeSpans": [_of_scope(*item) for item in scopes.items()],
        "schemaUrl": resource.schema_url,
    }


def _of_scope(scope: InstrumentationScope | None, spans: Sequence[Json]) -> Json:
    if scope is None:
        return {"scope": {}, "spans": spans}
    described = {"name": scope.name, "version": scope.version or "", "attributes": _attributes(scope.attributes)}
    return {"scope": described, "spans": spans, "schemaUrl": scope.schema_url or ""}


def _span(span: ReadableSpan) -> Json:
    assert span.context is not None
    encoded: Json = {
        **_ids(span.context),
        "flags": _flags(span.parent),
        "name": span.name,
        "kind": span.kind.value + 1,  # OTLP counts from "unspecified"
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes),
        "status": {"code": span.status.status_code.value},
    }
    if span.parent is not None:
        encoded["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.status.description:
        encoded["status"]["message"] = span.status.description
    if span.events:
        encoded["events"] = [
            {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        encoded["links"] = [
            {**_ids(link.context), "flags": _flags(link.context), "attributes": _attributes(link.attributes)}
            for link in span.links
        ]
    return encoded


def _ids(context: SpanContext) -> Json:
    ids = {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}
    if context.trace_state:
        ids["traceState"] = context.trace_state.to_header()
    return ids


def _flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | (_IS_REMOTE if context is not None and context.is_remote else 0)


def _attributes(attributes: Mapping[str, Any] | None) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: Any) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case Sequence():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
