"""Messages to agents from elsewhere, and the answers to them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from callboard.actors.agents.errors import MessageFailed
from callboard.actors.agents.reply import Reply, reply_of
from callboard.actors.agents.values import encoded, read, value_of
from callboard.actors.strict_json import did_you_mean
from callboard.actors.submission import id_from
from callboard.bus.clock import new_entity_id
from callboard.bus.entities import AGENT, NEWEST, Entities, Told
from callboard.bus.entity_snapshots import EntitySnapshots
from callboard.bus.errors import Unavailable
from callboard.bus.log import Bus, Note, Record
from callboard.bus.subjects import entity
from callboard.events import trace
from callboard.events.agent import AgentState
from callboard.events.agent_events import DeadLettered, Defined, Finished, Received, Requeued, Value
from callboard.events.agent_names import definition_of, id_of, name_of, person_of
from callboard.events.envelope import decode
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

RECHECK_S: Final = 10.0
SERVED_S: Final = 60.0
"""So long it is not looked again whether a definition is private."""


def messages_on(bus: Bus, source: str) -> "Messages":
    """Messages as ``source`` sends them."""
    snapshots = EntitySnapshots(bus, AGENT)
    return Messages(bus, Entities(bus.log, AGENT, source, snapshots=snapshots, privacy=bus.privacy))


class Messages:
    """Messages of one client to agents."""

    def __init__(self, bus: Bus, entities: Entities[AgentState]) -> None:
        self._bus = bus
        self._entities = entities
        self._served: dict[str, Defined] = {}
        self._served_at = -SERVED_S
        self._inbox = bus.signals.inbox()
        self._listening: asyncio.Task[Any] | None = None
        self._waiting: WeakValueDictionary[str, asyncio.Future[Reply]] = WeakValueDictionary()

    async def send(
        self, agent: str, body: Any, *, key: str | None = None, by: str = "", traceparent: str = ""
    ) -> "MessageHandle":
        """Send an agent a message; see `Board.send`."""
        agent_id, person, value = id_of(agent), await self.person(agent), await self.body(agent, body)
        await self._listen()
        message = _message_id(agent_id, key)
        answered = self._waiting.setdefault(message, asyncio.get_running_loop().create_future())
        reply_to = f"{self._inbox}.{message}"
        received = Received(
            message, value, by=by, reply_to=reply_to, key=key, traceparent=_span(traceparent), private=person
        )
        told = await self._put(received, agent_id)
        if not told.appended:  # it was sent before, and may be done with
            return MessageHandle(self, agent_id, message, None, 0)
        return MessageHandle(self, agent_id, message, answered, told.entity.seq)

    async def put(
        self, agent: str, body: Any, *, key: str, by: str, reply_to: str | None, traceparent: str = ""
    ) -> str:
        """As `send`, with an answer to ``reply_to``; returns the message's id. One that is done with is answered."""
        agent_id, person, value = id_of(agent), await self.person(agent), await self.body(agent, body)
        message = _message_id(agent_id, key)
        received = Received(
            message, value, by=by, reply_to=reply_to, key=key, traceparent=_span(traceparent), private=person
        )
        told = await self._put(received, agent_id)
        if reply_to and not told.appended and (reply := await self._look_up(agent_id, message, 0)):
            await self._bus.signals.publish(reply_to, msgspec.json.encode(reply))
        return message

    def message(self, agent: str, message: str) -> "MessageHandle":
        """A message that was sent before, by anybody."""
        return MessageHandle(self, id_of(agent), checked_id(message, "message"), None, 0)

    async def body(self, agent: str, body: Any) -> Value:
        """A message as the log has it. Raises InvalidInput when it can't be sent to that agent."""
        return await value_of(self._bus, encoded(body, "the message"), await self.person(agent))

    async def person(self, agent: str) -> str:
        """The person that an agent is about, who has a key then; empty for none. Raises InvalidInput as `body`."""
        agent_id = id_of(agent)
        person = person_of(await self._definition(agent_id), agent_id)
        if person:
            await self._bus.privacy.keyring.welcome(person)
        return person

    async def state(self, agent_id: str) -> AgentState:
        """An agent as the log has it now."""
        return (await self._entities.load(agent_id, at_least=NEWEST)).state

    async def requeue(self, agent: str, message: str) -> None:
        """Try a message again that was set aside. Raises IllegalTransition when there is no such."""
        await self._entities.tell(id_of(agent), lambda _: [Requeued(message)])

    async def reply(self, agent_id: str, message: str, answered: "asyncio.Future[Reply] | None", after: int) -> Reply:
        """What came of a message that is in the log ``after`` some sequence, as soon as that is known."""
        if answered is None:  # sent before, and the answer is told to whoever did: all others have it from the log
            if reply := await self._first(self._bus.log.follow(*_ends(agent_id), after=after), agent_id, message):
                return reply
            raise Unavailable(f"the connection was closed before {name_of(agent_id)} was done with {message}")
        while not (await asyncio.wait([answered], timeout=RECHECK_S))[0]:
            if reply := await self._look_up(agent_id, message, after):
                return reply
        return answered.result()

    async def value(self, reply: Reply) -> Any:
        """The answer. Raises MessageFailed."""
        if reply.failure:
            raise MessageFailed(reply.agent, reply.message, reply.failure)
        return await read(self._bus, reply.value)

    async def _put(self, received: Received, agent_id: str) -> Told[AgentState]:
        return await self._entities.tell(agent_id, lambda _: [received])

    async def _look_up(self, agent_id: str, message: str, after: int) -> Reply | None:
        return await self._first(self._bus.log.read_all(*_ends(agent_id), after=after), agent_id, message)

    async def _first(self, batches: AsyncIterator[list[Record]], agent_id: str, message: str) -> Reply | None:
        async for batch in batches:
            for record in batch:
                for envelope in await self._bus.privacy.read(record.data):
                    event = envelope.event
                    if isinstance(event, Finished | DeadLettered) and event.message == message:
                        return reply_of(agent_id, event)
        return None

    async def _definition(self, agent_id: str) -> Defined:
        wanted = definition_of(agent_id)
        if wanted in self._served and time.monotonic() < self._served_at + SERVED_S:
            return self._served[wanted]
        self._served_at = time.monotonic()
        async for batch in self._bus.log.read_all("evt.*.agent.*.defined"):
            for envelope in (envelope for record in batch for envelope in decode(record.data)):
                if isinstance(envelope.event, Defined):
                    self._served[envelope.entity] = envelope.event
        if wanted not in self._served:
            meant = did_you_mean(wanted, self._served).removeprefix("; ")
            hint = meant or "`callboard run FILE` serves those of a Python file"
            raise InvalidInput(f"nobody serves agents called {wanted!r}: {hint}")
        return self._served[wanted]

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = asyncio.ensure_future(self._bus.signals.subscribe(f"{self._inbox}.*", self._hear))
        await asyncio.shield(self._listening)

    async def _hear(self, note: Note) -> None:
        reply = msgspec.json.decode(note.data, type=Reply)
        future = self._waiting.get(reply.message)
        if future is not None and not future.done():
            future.set_result(reply)


def _ends(agent_id: str) -> list[str]:
    """The subjects of what ends an agent's messages."""
    prefix = entity("agent", agent_id)
    return [f"{prefix}.{kind}" for kind in ("finished.>", "finished", "dead_lettered.>", "dead_lettered")]


def _span(traceparent: str) -> str:
    return traceparent if trace.parse(traceparent) else ""


def _message_id(agent_id: str, key: str | None) -> str:
    return new_entity_id(agent_id) if key is None else id_from("message", agent_id, key, owner=agent_id)


class MessageHandle:
    """A message to an agent."""

    def __init__(
        self, messages: Messages, agent_id: str, message: str, answered: "asyncio.Future[Reply] | None", after: int
    ) -> None:
        self._messages = messages
        self._agent_id = agent_id
        self._answered = answered
        self._after = after
        self.id = message

    @property
    def agent(self) -> str:
        """The name of the agent: ``writer/customer-42``."""
        return name_of(self._agent_id)

    async def state(self) -> AgentState:
        """The agent as the log has it now."""
        return await self._messages.state(self._agent_id)

    async def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the answer, as JSON.

        Raises:
            MessageFailed: it was refused, or set aside after all tries.
            TimeoutError: there is none within ``timeout_s``; the agent goes on.
        """
        async with asyncio.timeout(timeout_s):
            reply = await self._messages.reply(self._agent_id, self.id, self._answered, self._after)
        return await self._messages.value(reply)
