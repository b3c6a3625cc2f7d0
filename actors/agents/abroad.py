"""Mail to agents in other cells: into their log, exactly once as at home, since it is the receiver that counts it.

What is large is put into the receiver's blob store first. What is private goes nowhere: persons' keys are each cell's
own. A cell that can't be reached is told of once, and its mail waits in the sender's log.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import structlog

from callboard.actors.commits import Commits
from callboard.actors.turns import Turns
from callboard.actors.unheard import unheard
from callboard.bus.entities import AGENT, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import BusError, NotFound, Unavailable
from callboard.bus.log import Bus
from callboard.events.agent import AgentState
from callboard.events.agent_events import Answered, Received
from callboard.events.agent_names import name_of
from callboard.events.errors import Elsewhere
from callboard.events.ids import shard_of
from callboard.events.shards import Shards

_log = structlog.get_logger(__name__)


class Neighbour(Protocol):
    """Another cell: the log that holds other shards."""

    @property
    def held(self) -> Shards:
        """Those that it holds."""
        ...

    async def bus(self) -> Bus:
        """A connection to it, the same as long as it lasts. Raises Unavailable, which names the cell."""
        ...


class _Way(NamedTuple):
    bus: Bus
    commits: Commits[AgentState]


class Abroad:
    """Brings what ``source``, at home on ``bus``, has for agents of ``neighbours``."""

    def __init__(self, bus: Bus, source: str, neighbours: Sequence[Neighbour]) -> None:
        self._bus = bus
        self._source = source
        self._neighbours = neighbours
        self._ways: dict[Neighbour, _Way] = {}
        self._down: set[Neighbour] = set()

    def is_away(self, agent_id: str) -> bool:
        """Whether an agent lives in another cell."""
        return not self._bus.shards.holds("agent", agent_id)

    def bring(self, to: str, said: Received | Answered) -> "asyncio.Future[AgentState]":
        """Bring it now; the result is the receiver's state after it.

        It fails with Elsewhere when nobody is known to hold that agent, or it is private, with Unavailable when the
        cell can't be reached, and as the receiver's log and rules have it.
        """
        bringing = asyncio.ensure_future(self._bring(to, said))
        bringing.add_done_callback(unheard)  # the queue brings what was not brought
        return bringing

    async def _bring(self, to: str, said: Received | Answered) -> AgentState:
        if said.private:
            raise Elsewhere(f"mail to {name_of(to)} is private, and does not leave its cell: keys are each cell's own")
        neighbour = self._neighbour(to)
        try:
            way = await self._way(neighbour)
            await self._copy(said, way.bus)
            state = await way.commits.tell(to, lambda _: [said])
        except BusError as error:
            if isinstance(error, Unavailable) and neighbour not in self._down:
                self._down.add(neighbour)
                _log.warning("mail waits for another cell", shards=str(neighbour.held), error=str(error))
            raise
        if neighbour in self._down:
            self._down.discard(neighbour)
            _log.info("mail reaches the other cell again", shards=str(neighbour.held))
        return state

    def _neighbour(self, to: str) -> Neighbour:
        shard = shard_of(to)
        for neighbour in self._neighbours:
            if shard in neighbour.held:
                return neighbour
        raise Elsewhere(f"agent {name_of(to)} is of shard {shard}, and no cell is known that holds it: see [[cells]]")

    async def _way(self, neighbour: Neighbour) -> _Way:
        bus = await neighbour.bus()
        way = self._ways.get(neighbour)
        if way is None or way.bus is not bus:
            entities = Entities(
                bus.log, AGENT, self._source, snapshots=EntitySnapshots(bus, AGENT), privacy=bus.privacy
            )
            way = self._ways[neighbour] = _Way(bus, Commits(entities, Turns(bus.signals, "agent")))
        return way

    async def _copy(self, said: Received | Answered, there: Bus) -> None:
        """Have what is large lie in the receiver's blob store too."""
        value = said.body if isinstance(said, Received) else said.value
        if value.aside is None:
            return
        try:
            data = await self._bus.blobs.get(value.aside.sha256)
        except NotFound as error:  # as at home, it is the receiver that can't read it
            _log.error("what is large is lost", message=said.message, error=str(error))
        else:
            await there.blobs.put(data)
