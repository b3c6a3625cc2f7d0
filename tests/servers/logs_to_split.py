"""Logs that are to be split: the way to one, a copy of it on another server, and what is in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from callboard.bus import jetstream
from callboard.bus.backup.restoring import plan
from callboard.bus.entities import TASK, Entities
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.restoring import restore
from callboard.events.envelope import decode
from callboard.events.task import Task
from callboard.projections.budgets import BUDGETS, Budgets


@asynccontextmanager
async def connected(server: EmbeddedServer | Node) -> AsyncIterator[JetStreamBus]:
    """A connection, also to a log that is half split."""
    bus = await jetstream.connect(server.url, splits=True)
    try:
        yield bus
    finally:
        await bus.aclose()


async def copied(folder: Path, old: EmbeddedServer, new: EmbeddedServer) -> Budgets:
    """Restore a backup of the one server into the other; the budgets as they were before."""
    async with connected(old) as bus:
        await bus.back_up(folder / "backup", version="1")
        before = await budgets(bus)
    bus = await jetstream.connect(new.url, make=False)
    await restore(bus, plan(folder / "backup"))
    await bus.aclose()
    return before


async def budgets(bus: JetStreamBus) -> Budgets:
    """All budgets, by the log itself."""
    state = BUDGETS.initial()
    async for records in bus.log.read_all():
        for record in records:
            for envelope in decode(record.data):
                state = BUDGETS.apply(state, envelope)
    return state


async def tasks(bus: JetStreamBus) -> list[Task]:
    """All tasks, by the log itself."""
    return [loaded.state for loaded in await Entities(bus.log, TASK, "test").all()]
