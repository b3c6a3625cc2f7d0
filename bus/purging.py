"""Taking whole entities out of the stream, and how far that may go."""

import secrets
from typing import Final

import msgspec

from callboard.bus import consumer
from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import BusError
from callboard.bus.filters import Filter
from callboard.bus.log import Behind
from callboard.bus.reader import left
from callboard.bus.report import durables
from callboard.bus.subjects import ALL_EVENTS

_WHILE_ASKING_S: Final = 5


class _Purged(Answer):
    purged: int = 0


class _State(msgspec.Struct):
    messages: int = 0
    last_seq: int = 0


class _Info(Answer):
    state: _State | None = None


async def purge(api: Api, stream: str, subject: str, upto: int) -> int:
    """Remove what is on ``subject`` up to and with a sequence, and return how many messages that were."""
    made = await api.call(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": upto + 1}, _Purged)
    if made.error:
        raise refusal(made.error, f"purging {subject}")
    return made.purged


async def missing(api: Api, stream: str, after: int) -> int:
    """How many messages after a sequence were purged; what is stored meanwhile makes it fewer, not more."""
    state = await _state(api, stream)
    if not after:
        return state.last_seq - state.messages
    if after >= state.last_seq:
        return 0
    if not api.may(f"CONSUMER.CREATE.{stream}.count"):
        return max(state.last_seq - after - await left(api, stream, after), 0)
    name = f"count-{secrets.token_hex(8)}"
    config = consumer.Config(
        name=name,
        deliver_policy="by_start_sequence",
        opt_start_seq=after + 1,
        ack_policy="none",
        inactive_threshold=_WHILE_ASKING_S * 1_000_000_000,
        mem_storage=True,
        num_replicas=1,
    )
    made = await consumer.create(api, stream, config)
    api.wire.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")
    return max(state.last_seq - after - made.num_pending, 0)


async def behind(api: Api, stream: str) -> list[Behind]:
    """The durable consumers that have anything left to do."""
    return [
        Behind(each.name, Filter(each.subjects or (ALL_EVENTS,)), each.done)
        for each in await durables(api, stream)
        if each.pending or each.unacknowledged
    ]


async def _state(api: Api, stream: str) -> _State:
    info = await api.call(f"STREAM.INFO.{stream}", None, _Info)
    if info.error or not info.state:
        raise refusal(info.error, stream) if info.error else BusError(f"{stream}: the server does not say its state")
    return info.state
