"""What one host says of an agent while it works at a message."""

import asyncio
from collections.abc import Callable, Sequence

from callboard.actors.agents.errors import StepError
from callboard.actors.commits import Commits
from callboard.bus.entities import NEWEST, Entities
from callboard.events.agent import AgentState, in_epoch
from callboard.events.agent_events import AgentEvent


class Journal:
    """The events of one agent in one epoch; what another host has taken over raises Fenced."""

    def __init__(self, entities: Entities[AgentState], commits: Commits[AgentState], agent_id: str, epoch: int) -> None:
        self._entities = entities
        self._commits = commits
        self._epoch = epoch
        self._pending: set[asyncio.Future[AgentState]] = set()
        self.agent_id = agent_id
        self.trouble: Exception | None = None
        """Why something could not be said; whatever the handler makes of it, its work is not in the log."""
        self.closed = False

    def soon(self, *events: AgentEvent) -> "asyncio.Future[AgentState]":
        """Say it before whatever is said after it, without waiting."""
        return self.wish(lambda _: events)

    async def say(self, *events: AgentEvent) -> AgentState:
        """Say it, and return the state after it."""
        return await self.soon(*events)

    def wish(self, say: Callable[[AgentState], Sequence[AgentEvent]]) -> "asyncio.Future[AgentState]":
        """As `soon`, with what ``say`` says of the state."""
        if self.closed:
            raise StepError(f"agent {self.agent_id}: a step goes on after its handler has ended: await it there")
        if self.trouble:
            raise self.trouble  # what was to be said before is not in the log
        future = self._commits.soon(self.agent_id, in_epoch(self._epoch, say))
        self._pending.add(future)
        future.add_done_callback(self._said)
        return future

    async def known(self) -> AgentState:
        """The agent's state as this host has last heard of it."""
        return (await self._entities.load(self.agent_id)).state

    async def newest(self) -> AgentState:
        """The agent's state as the log has it now, after all that was said."""
        await self.settled()
        return (await self._entities.load(self.agent_id, at_least=NEWEST)).state

    async def settled(self) -> None:
        """Wait until all is in the log that was said so far. Raises what it could not be said for."""
        if self._pending:
            await asyncio.wait(self._pending)
        if self.trouble:
            raise self.trouble

    def _said(self, future: "asyncio.Future[AgentState]") -> None:
        self._pending.discard(future)
        if not future.cancelled() and isinstance(error := future.exception(), Exception):
            self.trouble = self.trouble or error
