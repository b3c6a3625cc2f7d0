"""A host: agents of some definitions live here. They are activated when there is something to do, and let go after."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from callboard.actors.agents.abroad import Abroad, Neighbour
from callboard.actors.agents.activation import REST_S, Activation
from callboard.actors.agents.bells import Bells
from callboard.actors.agents.definition import Definition, Every
from callboard.actors.agents.hosts import Hosts
from callboard.actors.agents.postman import Postman
from callboard.actors.agents.services import Services
from callboard.actors.board import Board
from callboard.actors.commits import Commits
from callboard.actors.projector import Projector
from callboard.actors.turns import Turns
from callboard.bus.entities import AGENT, Entities
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import BusError
from callboard.bus.log import Bus
from callboard.events.agent import AgentState
from callboard.events.agent_events import Answered, Defined, Mail, Sent
from callboard.events.agent_names import definition_of, name_of
from callboard.events.envelope import Envelope
from callboard.events.errors import Fenced, InvalidInput
from callboard.events.ids import shard_of
from callboard.projections.agents import AGENTS, FOLLOWED

MOST_ACTIVE: Final = 1_000
"""Agents that work at a time on one host; the others wait. With half as many, those that only wait rest sooner."""

PRESSED_S: Final = 0.2
SWEEP_S: Final = 5.0
RETRY_S: Final = 0.5
BROKEN_S: Final = 10.0

_log = structlog.get_logger(__name__)


class Host:
    """The agents of some ``definitions``, as far as they live in this process, which ``host_id`` names for good.

    What they send to agents in other cells goes to the ``neighbours``.
    """

    def __init__(
        self,
        bus: Bus,
        host_id: str,
        definitions: Iterable[Definition],
        *,
        rest_s: float = REST_S,
        neighbours: Sequence[Neighbour] = (),
    ) -> None:
        self._definitions = _by_name(definitions)
        self._rest_s = rest_s
        snapshots = EntitySnapshots(bus, AGENT, saves=True)
        self._entities: Entities[AgentState] = Entities(
            bus.log, AGENT, f"host#{host_id}", snapshots=snapshots, privacy=bus.privacy
        )
        self._commits = Commits(self._entities, Turns(bus.signals, "agent"))
        self._projector = Projector(bus, AGENTS, subjects=FOLLOWED, snapshot="agents", gather_s=0.0)
        self._projector.watch(self._seen)
        self._hosts = Hosts(bus.signals, host_id, self._definitions, self._sweep)
        self._postman = Postman(bus, self._commits, Abroad(bus, f"host#{host_id}", neighbours))
        self._active: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._outside: dict[str, None] = {}
        self._services = Services(
            host_id,
            Board(bus, f"host#{host_id}"),
            self._entities,
            self._commits,
            Bells(),
            lambda: self._projector.state(AGENTS).defined,
            self._hosts.is_alive,
            self._is_due,
            self._post,
        )
        self.ready = self._hosts.ready
        """Set when agents live here."""

    async def run(self) -> None:
        """Let agents live here until cancelled."""
        await self._projector.catch_up()
        for name, definition in self._definitions.items():
            await self._commits.tell(name, partial(_saying, definition.defined))
            await self._plan(name, definition.every)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._projector.run())
                group.create_task(self._projector.save_when_asked())
                group.create_task(self._postman.run())
                group.create_task(self._hosts.run())
                group.create_task(self._sweep_often())
        finally:
            await self._let_go()

    async def _plan(self, name: str, every: Every | None) -> None:
        """Have the agent told the time, as it is defined; and no more, if it was and is not, or lives elsewhere."""
        schedules, shards = self._services.board.schedules, self._services.board.bus.shards
        planned = f"agent-{name}"
        if not shards.holds("schedule", planned):
            planned = f"{shard_of(name):02x}-{planned}"
        if every is not None and shards.holds("agent", name):
            private = self._definitions[name].defined.private
            person = private if isinstance(private, str) else ""
            await schedules.plan_message(planned, every.cron, name, zone=every.zone, private=person)
        elif any(schedule.id == planned for schedule in await schedules.all()):
            await schedules.remove(planned, "its agent is defined without, or lives elsewhere")

    def _consider(self, agent_id: str) -> None:
        """Activate an agent if it lives here; it looks itself whether there is something to do."""
        if not (self.ready.is_set() and self._lives_here(agent_id)):
            return
        if agent_id in self._active:
            self._again.add(agent_id)
        elif len(self._active) < MOST_ACTIVE:
            self._active[agent_id] = asyncio.create_task(self._activate(agent_id), name=name_of(agent_id))
        else:
            self._outside[agent_id] = None

    async def _activate(self, agent_id: str) -> None:
        definition = self._definitions[definition_of(agent_id)]
        activation = Activation(self._services, definition, agent_id, self._patience_s)
        try:
            more = True
            while more:
                self._again.discard(agent_id)
                more = (self._lives_here(agent_id) and await activation.work()) or agent_id in self._again
        except Fenced as error:
            _log.info("left to another host", agent=name_of(agent_id), reason=str(error))
        except BusError as error:
            _log.warning("bus trouble, will retry", agent=name_of(agent_id), error=str(error))
            await asyncio.sleep(RETRY_S)
            self._again.add(agent_id)
        except Exception:  # a broken history, a lost blob: doctor tells, and it is looked at again in a while
            _log.exception("an agent can't go on", agent=name_of(agent_id))
            await asyncio.sleep(BROKEN_S)
        finally:
            del self._active[agent_id]
            if agent_id in self._again:
                self._again.discard(agent_id)
                self._consider(agent_id)
            while self._outside and len(self._active) < MOST_ACTIVE:
                first = next(iter(self._outside))
                del self._outside[first]
                self._consider(first)

    def _patience_s(self) -> float:
        """How long an agent that only waits is held in memory now."""
        return self._rest_s if len(self._active) < MOST_ACTIVE // 2 else min(self._rest_s, PRESSED_S)

    def _seen(self, _seq: int, envelope: Envelope) -> None:
        """Something of interest is in the log: wake whoever waits for it."""
        state = self._projector.state(AGENTS)
        if envelope.kind == "agent":
            if isinstance(envelope.event, Answered):
                self._services.bells.ring(f"answer/{envelope.event.message}")
            agent_id: str | None = envelope.entity
        else:
            self._services.bells.ring(envelope.subject)
            agent_id = state.resting.get(envelope.subject)
        if agent_id is not None and agent_id in state.runnable and self._is_free(agent_id):
            self._consider(agent_id)

    def _lives_here(self, agent_id: str) -> bool:
        """Whether an agent is to be worked at here: also if it was begun here, and lives on another host since."""
        if not self._services.board.bus.shards.holds("agent", agent_id):
            return False
        return self._hosts.is_mine(agent_id) or self._is_begun_here(agent_id)

    def _is_begun_here(self, agent_id: str) -> bool:
        row = self._projector.state(AGENTS).by_id.get(agent_id)
        begun = row is not None and row.work and not row.rests and row.host == self._services.host
        return bool(begun) and definition_of(agent_id) in self._definitions

    def _is_free(self, agent_id: str) -> bool:
        """Whether no host works at it, as far as is known."""
        row = self._projector.state(AGENTS).by_id[agent_id]
        if not row.work or row.due:
            return True
        if row.host == self._services.host:  # by this name, but before it was started again
            return agent_id not in self._active
        return not self._hosts.is_alive(row.host)

    def _is_due(self, agent_id: str) -> bool:
        row = self._projector.state(AGENTS).by_id.get(agent_id)
        return row is not None and row.due

    def _post(self, sender: str, mail: Mail) -> None:
        if isinstance(mail, Sent):
            self._consider(mail.to)  # first, so that it takes the message up in the append that brings it
            self._postman.bring(sender, mail)
        else:
            self._postman.bring(sender, mail).add_done_callback(partial(self._brought, mail))

    def _brought(self, mail: Mail, received: "asyncio.Future[AgentState]") -> None:
        """An answer that was brought from here need not be heard of by the log; what was not, the queue brings."""
        if not received.cancelled() and not received.exception():
            self._services.bells.ring(f"answer/{mail.message}")

    def _sweep(self) -> None:
        """Look at all that have something to do."""
        state = self._projector.state(AGENTS)
        for agent_id in state.runnable:
            if agent_id not in self._active and (self._is_begun_here(agent_id) or self._is_free(agent_id)):
                self._consider(agent_id)

    async def _sweep_often(self) -> None:
        """Nothing should be left over; if it is, it is not for long."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._services.bells.ring_all()
            self._sweep()

    async def _let_go(self) -> None:
        active = list(self._active.values())
        for task in active:
            task.cancel()
        await asyncio.gather(*active, return_exceptions=True)
        for definition in self._definitions.values():
            await definition.aclose()


def _saying(defined: Defined, _agent: AgentState) -> list[Defined]:
    return [defined]


def _by_name(definitions: Iterable[Definition]) -> dict[str, Definition]:
    found: dict[str, Definition] = {}
    for definition in definitions:
        if definition.name in found:
            raise InvalidInput(f"two agents are called {definition.name!r}: give each a name of its own")
        found[definition.name] = definition
    return found
