"""Values of agents in the log: as JSON, large ones by their hash in the blob store."""

from typing import Any, Final

import msgspec

from callboard.actors.claim_check import INLINE, fetched, put_aside
from callboard.bus.log import Bus
from callboard.events.agent_events import NOTHING, StepFailure, Value
from callboard.events.errors import CallboardError, InvalidInput

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of one value as JSON. What is larger belongs into a context, as an artifact."""

LONGEST_REASON: Final = 2000
"""Characters of a failure's message that are kept."""


class Unkept(InvalidInput):
    """A value that can't be kept; ``kind`` is that of the failure of a step that gives it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def encoded(value: Any, what: str) -> bytes:
    """``value`` as JSON. Raises Unkept that says why ``what`` can't be kept."""
    try:
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unkept(
            "not JSON", f"{what} is a {type(value).__name__} that is no JSON ({error}): use text, numbers, lists, maps"
        ) from None
    if len(data) > LARGEST:
        raise Unkept(
            "too large",
            f"{what} has {len(data):,} bytes, of at most {LARGEST:,}: put it into a context, as an artifact",
        )
    return data


async def value_of(bus: Bus, data: bytes, private: str = "", *, aside: bool = False) -> Value:
    """The JSON ``data`` as events about ``private`` carry it; ``aside``: in the blob store, however small it is."""
    if aside or len(data) > INLINE:
        return Value(aside=await put_aside(bus, data, "application/json", private))
    decoded = msgspec.json.decode(data)
    return NOTHING if decoded is None else Value(decoded)


async def read(bus: Bus, value: Value) -> Any:
    """What ``value`` stands for. Raises NotFound when it is gone from the blob store, and Forgotten."""
    return msgspec.json.decode(await fetched(bus, value.aside)) if value.aside else value.json


def failure_of(error: BaseException) -> StepFailure:
    """An exception as events carry it."""
    kind = error.kind if isinstance(error, Unkept) else type(error).__name__
    said = " ".join(str(error).split()) or kind
    message = said if isinstance(error, CallboardError) or said == kind else f"{kind}: {said}"
    return StepFailure(kind, message[:LONGEST_REASON])
