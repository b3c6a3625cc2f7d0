"""How full the streams are, and who reads them: for people who look after a board."""

from typing import Any, NamedTuple

import msgspec

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.stream_names import BLOBS, CHECKPOINTS, EVENTS, KEYS, SNAPSHOTS, SUBMISSIONS, TIMERS


class ConsumerReport(NamedTuple):
    """A durable consumer: messages not delivered yet, delivered but not acknowledged, and how many pulls wait.

    Up to the sequence ``done`` all is acknowledged; ``subjects`` are what it is about, none stands for all.
    """

    name: str
    pending: int
    unacknowledged: int
    waiting: int
    done: int = 0
    subjects: tuple[str, ...] = ()


class StreamReport(NamedTuple):
    """A stream. ``max_bytes`` is -1 where there is no limit; ``last_seq`` is that of its newest message."""

    name: str
    messages: int
    bytes: int
    max_bytes: int
    last_seq: int
    consumers: tuple[ConsumerReport, ...]


class Report(NamedTuple):
    """Callboard's streams on a server; the event log is the first."""

    server_version: str
    streams: tuple[StreamReport, ...]


class _StreamState(msgspec.Struct):
    messages: int = 0
    bytes: int = 0
    last_seq: int = 0


class _StreamConfig(msgspec.Struct):
    max_bytes: int = -1


class _Stream(Answer):
    state: _StreamState = msgspec.field(default_factory=_StreamState)
    config: _StreamConfig = msgspec.field(default_factory=_StreamConfig)


class _ConsumerConfig(msgspec.Struct):
    durable_name: str = ""
    filter_subject: str = ""
    filter_subjects: tuple[str, ...] = ()


class _Floor(msgspec.Struct):
    stream_seq: int = 0


class _Consumer(msgspec.Struct):
    name: str
    config: _ConsumerConfig
    num_pending: int = 0
    num_ack_pending: int = 0
    num_waiting: int = 0
    ack_floor: _Floor = msgspec.field(default_factory=_Floor)


class _Consumers(Answer):
    total: int = 0
    consumers: tuple[_Consumer, ...] = ()


async def report(api: Api) -> Report:
    """All streams with their durable consumers. Raises BusError when one can't be looked at."""
    names = (EVENTS, SUBMISSIONS, TIMERS, BLOBS, SNAPSHOTS, KEYS, CHECKPOINTS)
    streams = [await _stream(api, name) for name in names]
    return Report(api.wire.server_version, tuple(streams))


async def _stream(api: Api, name: str) -> StreamReport:
    found = await _ask(api, f"STREAM.INFO.{name}", None, _Stream)
    state = found.state
    consumers = await durables(api, name)
    return StreamReport(name, state.messages, state.bytes, found.config.max_bytes, state.last_seq, consumers)


async def durables(api: Api, stream: str) -> tuple[ConsumerReport, ...]:
    """The durable consumers of a stream, by name."""
    durable: list[ConsumerReport] = []
    offset, total = 0, 1
    while offset < total:
        page = await _ask(api, f"CONSUMER.LIST.{stream}", {"offset": offset}, _Consumers)
        durable += [
            ConsumerReport(
                each.name,
                each.num_pending,
                each.num_ack_pending,
                each.num_waiting,
                each.ack_floor.stream_seq,
                each.config.filter_subjects or tuple(filter(None, (each.config.filter_subject,))),
            )
            for each in page.consumers
            if each.config.durable_name
        ]
        offset, total = offset + max(len(page.consumers), 1), page.total
    return tuple(sorted(durable))


async def _ask(api: Api, verb: str, arguments: object, shape: type[Any]) -> Any:
    answer = await api.call(verb, arguments, shape)
    if answer.error:
        raise refusal(answer.error, verb)
    return answer
