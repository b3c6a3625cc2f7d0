"""Moments of the log: which sequence a time stands for, and what was true then."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from callboard.actors.projector import SNAPSHOT, Projector
from callboard.bus import subjects
from callboard.bus.aggregates import Aggregate, Loaded, after, unborn
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import NotFound
from callboard.bus.log import Bus, Log, Record
from callboard.projections.agents import AGENTS, FOLLOWED
from callboard.projections.live import LIVE
from callboard.projections.projection import Projection
from callboard.projections.spans import SPANS

S = TypeVar("S")


class Group(NamedTuple):
    """Projections that are folded together: over these ``subjects``, or all, with snapshots called ``snapshot``."""

    snapshot: str
    projections: tuple[Projection[Any], ...]
    subjects: tuple[str, ...] = ()


GROUPS: Final = (Group(SNAPSHOT, LIVE), Group("agents", (AGENTS,), FOLLOWED), Group(SPANS.name, (SPANS,)))
"""All projections whose past can be asked for."""

EVERY: Final = 20_000
"""Whoever looks back keeps a snapshot after so many messages: denser than those who follow, who have more to do."""


class Past(NamedTuple, Generic[S]):
    """An entity as it was at a moment, the message that made it so, and the one that came next."""

    entity: Loaded[S]
    last: Record | None
    following: Record | None


def projector_of(bus: Bus, group: Group, *, snapshots: bool = True) -> Projector:
    """Folds a group; without ``snapshots`` from nothing but the log's first event."""
    name = group.snapshot if snapshots else None
    return Projector(bus, *group.projections, subjects=group.subjects, snapshot=name, every=EVERY)


async def entity_at(bus: Bus, aggregate: Aggregate[S], entity_id: str, upto: int) -> Past[S]:
    """An entity as the log has it up to a sequence. Raises BrokenChain and Undecodable."""
    messages = f"{subjects.entity(aggregate.kind, entity_id)}.>"
    loaded, last = unborn(aggregate, entity_id), None
    if aggregate.kept:
        loaded = await EntitySnapshots(bus, aggregate).nearest(entity_id, upto)
    async for batch in bus.log.read_all(messages, after=max(loaded.seq - 1, 0), upto=upto):
        for last in batch:
            if last.seq > loaded.seq:
                envelopes = await bus.privacy.read(last.data)
                loaded = after(aggregate, loaded, last.seq, last.data, envelopes)
    return Past(loaded, last, await _first(bus.log.read_all(messages, after=upto)))


async def seq_at(log: Log, time_ns: int) -> int:
    """The sequence of the last message that was stored at or before ``time_ns`` (wall clock); 0 if there is none.

    It is found by bisection, in some twenty reads, however long the log is.
    """
    low, high = 0, await log.end()
    while low < high:
        middle = (low + high + 1) // 2
        record = await at_or_after(log, middle)
        if record is not None and record.time_ns <= time_ns:
            low = min(record.seq, high)
        else:
            high = middle - 1
    return low


async def at_or_after(log: Log, seq: int) -> Record | None:
    """The message at a sequence, or the next one where that is no longer there."""
    try:
        [record] = await log.pick([seq])
    except NotFound:
        return await _first(log.read_all(after=seq))
    return record


async def _first(batches: AsyncIterator[list[Record]]) -> Record | None:
    try:
        async for batch in batches:
            return batch[0]
        return None
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
