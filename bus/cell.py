"""Which shards a log holds, and what was split away from it: kept as metadata of its stream, which backups have too."""

from typing import Any, Final

import msgspec

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.stream_names import EVENTS
from callboard.events.shards import ALL, Shards

SHARDS: Final = "callboard-shards"
"""As ``0-31``; absent: all."""


class _Info(Answer):
    config: dict[str, Any] = msgspec.field(default_factory=dict)


async def shards(api: Api) -> Shards:
    """The shards that the log holds; all where our key may not look. Raises BusError."""
    if not api.may(f"STREAM.INFO.{EVENTS}"):
        return ALL
    text = (await _config(api)).get("metadata", {}).get(SHARDS)
    return Shards.parse(text) if text else ALL


async def _config(api: Api) -> dict[str, Any]:
    found = await api.call(f"STREAM.INFO.{EVENTS}", None, _Info)
    if found.error:
        raise refusal(found.error, EVENTS)
    return found.config
