"""A board in memory where agents live."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from callboard.actors.agents.definition import Agent
from callboard.actors.agents.host import Host
from callboard.actors.board import Board
from callboard.actors.timekeeper import Timekeeper
from callboard.bus.entities import TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.agent_events import AgentEvent
from callboard.events.agent_names import id_of
from callboard.events.envelope import decode, short_type


class Theatre:
    """Hosts on one bus, and what happened to their agents."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.board = Board(self.bus, "client")
        self._running: list[asyncio.Task] = []
        self._hosts = 0

    async def start(self) -> None:
        keeper = Timekeeper(self.bus, Entities(self.bus.log, TASK, "timekeeper"))
        self._running.append(asyncio.create_task(keeper.run()))

    async def host(self, *definitions: Agent, rest_s: float = 10.0) -> asyncio.Task:
        """A host, once agents live there; cancel it to stop it."""
        self._hosts += 1
        host = Host(self.bus, f"h{self._hosts}", definitions, rest_s=rest_s)
        running = asyncio.create_task(host.run())
        self._running.append(running)
        await host.ready.wait()
        return running

    async def events(self, agent: str) -> list[AgentEvent]:
        """All that happened to an agent."""
        records = await self.bus.log.read(entity("agent", id_of(agent)))
        return [envelope.event for record in records for envelope in decode(record.data)]

    async def history(self, agent: str) -> list[str]:
        """The short types of an agent's events, in order; what defines it left out."""
        return [short_type(event) for event in await self.events(agent) if short_type(event) != "defined"]

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.board.aclose()
        await self.bus.aclose()


@pytest.fixture
async def theatre() -> AsyncIterator[Theatre]:
    """A theatre without hosts."""
    theatre = Theatre()
    await theatre.start()
    yield theatre
    await theatre.stop()
