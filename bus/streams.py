"""The streams, made when they are missing. Each holds one kind of durability; none belongs to one entity."""

import asyncio
from typing import Any, Final

import msgspec

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import BusError
from callboard.bus.limits import MAX_MESSAGE, MAX_SUBMISSION
from callboard.bus.stream_names import BLOBS, CHECKPOINTS, EVENTS, KEYS, SNAPSHOTS, SUBMISSIONS, TIMERS
from callboard.bus.subjects import ALL_EVENTS, TAKERS, checkpoint

__all__ = [
    "BLOBS",
    "CHECKPOINTS",
    "EVENTS",
    "KEYS",
    "SNAPSHOTS",
    "SUBMISSIONS",
    "TIMERS",
    "check",
    "create",
    "erase",
    "freeze",
    "info",
    "may_create",
    "room",
]

DEFAULT_MAX_BYTES: Final = 10 * 2**30

_IN_USE: Final = 10058
_NO_STORAGE: Final = 10047
_NO_STREAM: Final = 10059
_TOO_FEW_SERVERS: Final = frozenset({10005, 10074})
"""No peers for so many replicas, or no cluster at all."""

_HEADERS: Final = 4 * 1024
_NO_MESSAGE: Final = frozenset({10037, 10043, 10057})
"""There is no message, or it can't be deleted since it is not there (any more)."""


class State(msgspec.Struct):
    """How many ``bytes`` a stream holds."""

    bytes: int = 0


class Info(Answer):
    """A stream: its ``config`` as the server has it, and its ``state``."""

    config: dict[str, Any] = msgspec.field(default_factory=dict)
    state: State = msgspec.field(default_factory=State)


def _settings(max_bytes: int) -> list[dict[str, Any]]:
    return [
        {
            "name": EVENTS,
            "subjects": [ALL_EVENTS],
            "storage": "file",
            "compression": "s2",
            "discard": "new",  # a full log must refuse, never evict
            "deny_delete": True,
            "allow_direct": True,
            "allow_atomic": True,
            "max_msg_size": MAX_MESSAGE + _HEADERS,
            "max_consumers": 100_000,  # else 1,000
            "max_bytes": max_bytes,
        },
        {
            "name": SUBMISSIONS,
            "subjects": list(TAKERS),
            "storage": "file",
            "compression": "s2",
            "retention": "workqueue",
            "discard": "new",
            "no_ack": True,  # intake answers whoever asks
            "max_msg_size": MAX_SUBMISSION,
            "max_bytes": max_bytes,
            "max_consumers": 1000,
        },
        {
            "name": TIMERS,
            "subjects": ["timer.>"],
            "storage": "file",
            "retention": "workqueue",
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            "max_consumers": 1000,
        },
        {
            "name": BLOBS,
            "subjects": ["blob.>"],
            "storage": "file",
            "compression": "s2",
            "discard": "new",
            "discard_new_per_subject": True,  # what is there is of that hash: nobody may write over it
            "allow_direct": True,
            "max_msgs_per_subject": 1,
            "max_bytes": max_bytes,
        },
        {
            "name": SNAPSHOTS,
            "subjects": ["snapshot.>"],
            "storage": "file",
            "compression": "s2",
            "allow_direct": True,
            "max_msgs_per_subject": 1,
        },
        {
            "name": KEYS,
            "subjects": ["key.>"],
            "storage": "file",  # not compressed: what is erased is written over where it lies
            "discard": "new",
            "max_msgs_per_subject": 1,
        },
        {
            "name": CHECKPOINTS,
            "subjects": [checkpoint(None)],
            "storage": "file",
            "compression": "s2",
            "discard": "new",
            "deny_delete": True,
            "deny_purge": True,
            "allow_direct": True,
        },
    ]


async def check(api: Api) -> None:
    """See that the streams are there, as far as our key may look: it may not make them. Raises BusError."""
    if api.may(f"STREAM.INFO.{EVENTS}"):
        found = await api.call(f"STREAM.INFO.{EVENTS}", None, Info)
        if found.error and found.error.err_code == _NO_STREAM:
            raise BusError("there is no event log yet: start a node with the operator's key first", _NO_STREAM)
        if found.error:
            raise refusal(found.error, EVENTS)


def may_create(api: Api) -> bool:
    """Whether our key may make and change the streams."""
    return api.may(f"STREAM.UPDATE.{EVENTS}")


async def create(api: Api, max_bytes: int | None, replicas: int | None = None) -> None:
    """Make the streams that are missing, and change those that are set otherwise.

    ``max_bytes`` is for each; None leaves it as it is, and is 10 GiB for a new one. So is ``replicas``, and is 1 for a
    new one; durable consumers have as many as their stream. Settings that aren't ours stay as they are.

    Raises:
        BusError: a stream of that name has settings that can't be changed, or there are too few servers.
    """
    copies = {"num_replicas": replicas} if replicas else {}
    left_as_is = set() if max_bytes else {"max_bytes"}
    events, *others = (settings | copies for settings in _settings(max_bytes or DEFAULT_MAX_BYTES))
    await _create(api, events, left_as_is)
    await asyncio.gather(*(_create(api, settings, left_as_is) for settings in others))


async def room(api: Api, name: str) -> int:
    """The bytes that still fit the stream, headers and all."""
    found = await info(api, name)
    limit: int = found.config["max_bytes"]
    return max(limit - found.state.bytes - _HEADERS, 0)


async def erase(api: Api, name: str, seq: int) -> None:
    """Take the message at a sequence away, and write over it on the disk; nothing happens if it is not there."""
    erased = await api.call(f"STREAM.MSG.DELETE.{name}", {"seq": seq}, Answer)
    if erased.error and erased.error.err_code not in _NO_MESSAGE:
        raise refusal(erased.error, f"{name}: erasing {seq}")


async def freeze(api: Api) -> None:
    """Limit the streams that refuse what is over their limit to what they hold now; nothing is evicted."""
    for name in (EVENTS, SUBMISSIONS, BLOBS):
        found = await info(api, name)
        held = max(found.state.bytes, 1)
        if held < found.config["max_bytes"]:
            changed = await api.call(f"STREAM.UPDATE.{name}", found.config | {"max_bytes": held}, Answer)
            if changed.error:
                raise refusal(changed.error, f"stream {name} can't be frozen")


async def info(api: Api, name: str) -> Info:
    """The configuration of a stream, and how large it is. Raises BusError."""
    found = await api.call(f"STREAM.INFO.{name}", None, Info)
    if found.error:
        raise refusal(found.error, name)
    return found


def _uncompressed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a stream without compression if it has copies.

    nats-server 2.15.1 that syncs always, and was killed, can't cut a compressed file back to where its journal goes on;
    that copy of the stream stays out for good then.
    """
    return settings | {"compression": "none"} if settings.get("num_replicas", 1) > 1 else settings


async def _create(api: Api, settings: dict[str, Any], left_as_is: set[str]) -> None:
    name = settings["name"]
    made = await api.call(f"STREAM.CREATE.{name}", _uncompressed(settings), Answer)
    if made.error and made.error.err_code == _IN_USE:
        found = (await info(api, name)).config
        wanted = _uncompressed(found | {key: value for key, value in settings.items() if key not in left_as_is})
        if wanted == found:
            return
        made = await api.call(f"STREAM.UPDATE.{name}", wanted, Answer)
    if made.error and made.error.err_code in _TOO_FEW_SERVERS:
        raise BusError(
            f"stream {name} needs {settings.get('num_replicas', 1)} servers, the cluster has {api.wire.servers}: "
            f"start more, or lower replicas under [nats] ({made.error.description})",
            made.error.err_code,
        )
    if made.error and made.error.err_code == _NO_STORAGE:
        raise BusError(
            f"stream {name}: the server has no {settings['max_bytes']:,} bytes to set aside for it: "
            "lower max_bytes under [nats], or raise max_file_store there",
            made.error.err_code,
        )
    if made.error:
        raise BusError(
            f"stream {name} of this server can't be set up as Callboard needs it: {made.error.description}: "
            "use a server or account of its own, or remove that stream",
            made.error.err_code,
        )
