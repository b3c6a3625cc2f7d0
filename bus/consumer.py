"""JetStream consumers: how one is described, asked for messages, and how its messages are read."""

from typing import Final, NamedTuple

import msgspec

from callboard.bus.api import CONSUMER_NOT_FOUND, Answer, Api, refusal
from callboard.bus.frames import header, status

HEARTBEAT: Final = 100
TIMED_OUT: Final = 408
CONFLICT: Final = 409

_SECOND: Final = 1_000_000_000


class Config(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What the server is told of a consumer; times in nanoseconds."""

    name: str
    durable_name: str = ""
    filter_subjects: tuple[str, ...] = ()
    deliver_policy: str = ""
    opt_start_seq: int = 0
    ack_policy: str = ""
    ack_wait: int = 0
    max_deliver: int = 0
    max_ack_pending: int = 0
    max_waiting: int = 0
    inactive_threshold: int = 0
    mem_storage: bool = False
    num_replicas: int = 0


class Group(msgspec.Struct):
    """Which server of a cluster leads."""

    leader: str = ""


class State(Answer):
    """How far a consumer is, as the copy of the stream has it that is beside it; ``cluster`` is None without one."""

    num_pending: int = 0
    num_ack_pending: int = 0
    cluster: Group | None = None


class Place(NamedTuple):
    """Where a message stands: its delivery (from 1), its stream and consumer sequence, what is left after it."""

    attempt: int
    seq: int
    consumer_seq: int
    time_ns: int
    pending: int


async def create(api: Api, stream: str, config: Config) -> State:
    """Create the consumer, or change it to ``config`` if it's there."""
    state = await api.call(f"CONSUMER.CREATE.{stream}.{config.name}", {"stream_name": stream, "config": config}, State)
    if state.error:
        raise refusal(state.error, f"{stream}: creating the consumer {config.name}")
    return state


async def state(api: Api, stream: str, name: str) -> State | None:
    """How far the consumer is, None if it's gone."""
    found = await api.call(f"CONSUMER.INFO.{stream}.{name}", None, State)
    if found.error:
        if found.error.err_code == CONSUMER_NOT_FOUND:
            return None
        raise refusal(found.error, f"{stream}: the consumer {name}")
    return found


def pull(
    api: Api,
    stream: str,
    name: str,
    reply: str,
    *,
    batch: int,
    expires_s: float,
    heartbeat_s: float,
    max_bytes: int = 0,
) -> None:
    """Ask for up to ``batch`` messages to come to ``reply``."""
    wanted = {"batch": batch, "expires": int(expires_s * _SECOND), "idle_heartbeat": int(heartbeat_s * _SECOND)}
    if max_bytes:
        wanted["max_bytes"] = max_bytes
    api.wire.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", msgspec.json.encode(wanted), reply=reply)


def unmet(headers: bytes) -> int | None:
    """How many of the messages asked for won't come, by a status; 0 for a heartbeat, None for trouble."""
    code = status(headers)
    if code == HEARTBEAT:
        return 0
    left = header(headers, b"Nats-Pending-Messages")
    return int(left) if left and code in {TIMED_OUT, CONFLICT} else None


def place(reply: bytes) -> Place:
    """Read a message's place off its reply subject (``$JS.ACK.[<domain>.<account>.]<stream>.<consumer>...``)."""
    words = reply.split(b".")
    return Place._make(map(int, words[4:9] if len(words) < 11 else words[6:11]))
