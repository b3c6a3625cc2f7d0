"""Spans as OTLP JSON: protobuf's JSON mapping, but with ids in hex and enums as numbers, as OTLP wants it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

Json: TypeAlias = dict[str, Any]


_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


class KeyValue(Struct, gc=False):
    """An attribute; without the garbage collector's attention, since a batch holds tens of thousands."""

    key: str
    value: Json


def encode(spans: Iterable[ReadableSpan]) -> bytes:
    """One ExportTraceServiceRequest, without a line break in it."""
    by_sender: dict[int, tuple[Resource, dict[int, tuple[InstrumentationScope | None, list[Json]]]]] = {}
    for span in spans:
        # by identity: a resource's own hash costs more than the rest of a span
        _, by_scope = by_sender.setdefault(id(span.resource), (span.resource, {}))
        _, encoded = by_scope.setdefault(id(span.instrumentation_scope), (span.instrumentation_scope, []))
        encoded.append(_span(span))
    resources = [_of_resource(resource, by_scope.values()) for resource, by_scope in by_sender.values()]
    return msgspec.json.encode({"resourceSpans": resources})


def _of_resource(resource: Resource, scopes: Iterable[tuple[InstrumentationScope | None, Sequence[Json]]]) -> Json:
    return {
        "resource": {"attributes": _attributes(resource.attributes)},
        "scopeSpans": [_of_scope(scope, spans) for scope, spans in scopes],
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


def _attributes(attributes: Mapping[str, Any] | None) -> list[KeyValue]:
    return [KeyValue(key, _value(value)) for key, value in (attributes or {}).items()]


def _value(value: Any) -> Json:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}
