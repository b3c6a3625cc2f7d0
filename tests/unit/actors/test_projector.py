"""Snapshots that are taken while the log goes on."""

import asyncio

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.bus.memory import MemoryBus
from callboard.events.envelope import Envelope
from callboard.events.task import Cancelled, Submitted
from callboard.projections.cost import COST
from callboard.projections.projection import dump
from callboard.projections.tasks import TASKS


async def test_a_snapshot_shows_one_moment_though_others_have_their_turn_meanwhile():
    """All projections of it stand at the same event, so that what comes after is folded into all of them."""
    bus = MemoryBus()
    board, projector = Board(bus, "client"), Projector(bus, TASKS, COST)
    await board.submit("one", tags=["a"])
    await projector.catch_up()
    await board.submit("two", tags=["b"])
    await asyncio.gather(projector.save(), projector.catch_up())
    restored = Projector(bus, TASKS, COST)
    await restored.catch_up()
    assert restored.seq == projector.seq
    for projection in (TASKS, COST):
        live, again = projector.state(projection), restored.state(projection)
        assert dump(projection, again, 0) == dump(projection, live, 0)
    await bus.aclose()


async def test_a_watcher_is_told_of_the_events_that_it_wants():
    """Of each one if it names none, of its types alone if it does, and of nothing once it is gone."""
    bus = MemoryBus()
    board, projector = Board(bus, "client"), Projector(bus, TASKS)
    told: dict[str, list[str]] = {"all": [], "ends": [], "gone": []}
    projector.watch(lambda _seq, envelope: told["all"].append(envelope.type))
    projector.watch(lambda _seq, envelope: told["ends"].append(envelope.type), Cancelled)

    def leaves(_seq: int, envelope: Envelope) -> None:
        told["gone"].append(envelope.type)
        projector.unwatch(leaves)

    projector.watch(leaves, Submitted, Cancelled)
    await (await board.submit("one")).cancel("enough")
    await projector.catch_up()
    assert told == {"all": [Submitted.type, Cancelled.type], "ends": [Cancelled.type], "gone": [Submitted.type]}
    await bus.aclose()
