"""Taking whole entities out of the stream, and how far that may go."""

import asyncio
import secrets
from typing import Final

import msgspec

from callboard.bus import consumer
from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import Unavailable
from callboard.bus.filters import Filter
from callboard.bus.log import Behind
from callboard.bus.reader import left
from callboard.bus.report import durables
from callboard.bus.subjects import ALL_EVENTS

_WHILE_ASKING_S: Final = 5
_TRIES: Final = 50
_AGAIN_S: Final = 0.02


class _Purged(Answer):
    purged: int = 0


class _State(msgspec.Struct):
    messages: int = 0
    last_seq: int = 0


class _Info(Answer):
    state: _State = msgspec.field(default_factory=_State)
    cluster: consumer.Group | None = None


async def purge(api: Api, stream: str, subject: str, upto: int) -> int:
    """Remove what is on ``subject`` up to and with a sequence, and return how many messages that were."""
    made = await api.call(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": upto + 1}, _Purged)
    if made.error:
        raise refusal(made.error, f"purging {subject}")
    return made.purged


async def empty(api: Api, stream: str) -> None:
    """Remove all messages of a stream."""
    made = await api.call(f"STREAM.PURGE.{stream}", None, _Purged)
    if made.error:
        raise refusal(made.error, f"purging {stream}")


async def missing(api: Api, stream: str, after: int) -> int:
    """How many messages after a sequence were purged; what is stored meanwhile makes it fewer, not more."""
    for _ in range(_TRIES):
        info = await _info(api, stream)
        if not after:
            return info.state.last_seq - info.state.messages
        if after >= info.state.last_seq:
            return 0
        if not api.may(f"CONSUMER.CREATE.{stream}.count"):
            return max(info.state.last_seq - after - await left(api, stream, after), 0)
        made = await _counted(api, stream, after)
        found = max(info.state.last_seq - after - made.num_pending, 0)
        # a cluster counts on the copy of the stream beside the consumer, which may be behind if it is not the leader's
        if not found or made.cluster is None or made.cluster == info.cluster:
            return found
        await asyncio.sleep(_AGAIN_S)
    raise Unavailable(f"{stream}: what was purged can't be counted while its leader changes: try again")


async def _counted(api: Api, stream: str, after: int) -> consumer.State:
    """How many messages there are after a sequence, as one of the servers says."""
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
    return made


async def behind(api: Api, stream: str) -> list[Behind]:
    """The durable consumers that have anything left to do."""
    return [
        Behind(each.name, Filter(each.subjects or (ALL_EVENTS,)), each.done)
        for each in await durables(api, stream)
        if each.pending or each.unacknowledged
    ]


async def _info(api: Api, stream: str) -> _Info:
    info = await api.call(f"STREAM.INFO.{stream}", None, _Info)
    if info.error:
        raise refusal(info.error, stream)
    return info
