"""An entity as it was at a version, whatever of it is in memory."""

import random

import pytest

from callboard.bus.entities import BACKEND, NEWEST, Entities
from callboard.bus.log import Bus
from callboard.bus.subjects import entity
from callboard.events.backend import BackendSpec, Priced, Registered, Scaled
from callboard.events.money import Price

MESSAGES = [
    [Registered(BackendSpec("callable", "m")), Priced(Price(1)), Scaled(5)],
    [Scaled(2)],
    [Scaled(3), Scaled(4)],
]


async def states(bus: Bus, writer: Entities) -> list:
    """The state at each version, by number; some versions are in the midst of a message."""
    for events in MESSAGES:
        await writer.tell("a", lambda _, events=events: events)
    fresh = [await Entities(bus.log, BACKEND, "fresh").as_of("a", at) for at in range(7)]
    assert [state.replicas for state in fresh[3:]] == [5, 2, 3, 4]
    return fresh


@pytest.mark.parametrize("seed", range(5))
async def test_a_version_reads_the_same_in_any_order(bus, seed):
    """By who knows nothing, an earlier part or all of it; and what is held in memory stays fit to decide on."""
    writer = Entities(bus.log, BACKEND, "writer")
    fresh = await states(bus, writer)
    reader, order = Entities(bus.log, BACKEND, "reader"), [*range(7)] * 2
    random.Random(seed).shuffle(order)
    for number, at in enumerate(order):
        assert await reader.as_of("a", at) == fresh[at]
        if number == 5 + seed:
            assert (await reader.load("a", at_least=NEWEST)).version == 6
    assert (await reader.tell("a", lambda _: [Scaled(9)])).entity.version == 7
    assert (await reader.as_of("a", 99)).replicas == 9


async def test_only_what_is_new_is_read(bus, monkeypatch):
    """Who reads a version and then a later one does not read the first part again."""
    writer, reader = Entities(bus.log, BACKEND, "writer"), Entities(bus.log, BACKEND, "reader")
    await states(bus, writer)
    await reader.as_of("a", 4)
    seqs = [record.seq for record in await bus.log.read(entity("backend", "a"))]
    begun: list[int] = []
    read = bus.log.read

    async def counted(name: str, *, after: int = 0):
        begun.append(after)
        return await read(name, after=after)

    monkeypatch.setattr(bus.log, "read", counted)
    await reader.as_of("a", 4)
    await reader.as_of("a", 6)
    assert begun == [seqs[1]]
