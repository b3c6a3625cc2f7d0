"""What an event came of: back from event to event, through tasks, steps, messages and schedules, to where it began."""

from datetime import datetime
from typing import NamedTuple

from callboard.bus.log import Bus, Record
from callboard.bus.subjects import entity
from callboard.deploy.cli.moment import stored
from callboard.deploy.cli.printing import working
from callboard.events import agent_events, approval, backend, budget, context_events, schedule, task
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import InvalidId
from callboard.events.scaling import Demand

_WINDOW = 2_000
_LONGEST = 1_000


class Told(NamedTuple):
    """An event where it stands in the log, and when it was stored."""

    seq: int
    time: datetime
    envelope: Envelope


class Link(NamedTuple):
    """An event of a chain, and ``how`` it followed from the one before it."""

    told: Told
    how: str


def events_of(record: Record) -> list[Told]:
    """The events of a message. Raises Undecodable."""
    return [Told(record.seq, stored(record.time_ns), envelope) for envelope in decode(record.data)]


class Causes:
    """Walks back. What was read of an entity is kept, since chains come by the same ones again and again."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._histories: dict[tuple[str, str], list[Told]] = {}

    async def chain(self, last: Told) -> list[Link]:
        """All that led to ``last``, from the first event on, and that one itself."""
        links: list[Link] = []
        seen: set[str] = set()
        at: Told | None = last
        while at is not None and at.envelope.id not in seen and len(links) < _LONGEST:
            seen.add(at.envelope.id)
            before, how = await self._before(at)
            links.append(Link(at, how))
            at = before
        return links[::-1]

    async def history(self, kind: str, entity_id: str) -> list[Told]:
        """All events of an entity; none of one that can't be."""
        if (kind, entity_id) not in self._histories:
            try:
                records = await self._bus.log.read(entity(kind, entity_id))
            except InvalidId:
                records = []
            self._histories[kind, entity_id] = [told for record in records for told in events_of(record)]
        return self._histories[kind, entity_id]

    async def _before(self, at: Told) -> tuple[Told | None, str]:
        event, cause = at.envelope.event, at.envelope.causationid
        if cause and (found := await self._caused_by(at, cause)):
            return found, _followed(found, at)
        match event:
            case task.Submitted():
                return await self._submitted(at, event)
            case agent_events.Stepped(on=on) if on:
                kind, _, entity_id = on.partition("/")
                return await self._newest(kind, entity_id, at), f"step {event.step} had waited for it"
            case agent_events.Received(key=key):
                return await self._fired(key, at)
            case approval.Requested(by=by) if by:
                return await self._asked(by, f"approval/{at.envelope.entity}", at)
            case backend.Scaled(demand=None):
                return None, "it came from outside"
            case backend.Scaled(demand=Demand(seen=seen)):
                return (await self.history("backend", at.envelope.entity))[0], f"by its load, up to {seen} of the log"
            case budget.Breached():
                return await self._newest("task", event.task, at), "it needs more than is left"
            case context_events.Changed(cause=cause) if cause.count("/") > 2:
                agent_id, message, step = cause.split("/", 2)
                return await self._received(agent_id, message), f"step {step.rpartition('/')[0]}"
        if isinstance(event, agent_events.AgentEvent) and not isinstance(event, agent_events.Defined):
            return await self._of_work(at), ""
        if isinstance(event, schedule.Fired | budget.BudgetEvent) and not isinstance(event, budget.Granted):
            return await self._newest(at.envelope.kind, at.envelope.entity, at, schedule.Planned, budget.Granted), ""
        if at.envelope.version > 1:
            return (await self.history(at.envelope.kind, at.envelope.entity))[0], "of what caused it nothing is told"
        return None, "it came from outside"

    async def _submitted(self, at: Told, event: task.Submitted) -> tuple[Told | None, str]:
        spec = event.spec
        if spec.owner:
            return await self._asked(spec.owner, f"task/{at.envelope.entity}", at)
        if spec.parent:
            return await self._newest("task", spec.parent, at), "it is asked on its behalf"
        return await self._fired(spec.key, at)

    async def _asked(self, agent_id: str, on: str, at: Told) -> tuple[Told | None, str]:
        """The message that an agent worked at when it asked for something, and for what step, if that is told."""
        message = await self._worked_at(agent_id, at)
        if message is None:
            return None, "it came from outside"
        waited = (
            told.envelope.event.step
            for told in await self.history("agent", agent_id)
            if isinstance(told.envelope.event, agent_events.Stepped) and told.envelope.event.on == on
        )
        step = next(waited, "")
        return message, f"step {step} asks for it" if step else "the agent asks for it"

    async def _fired(self, key: str | None, at: Told) -> tuple[Told | None, str]:
        """The time of a schedule that a task or message is for, if it is for one."""
        word, _, rest = (key or "").partition(" ")
        for told in await self.history("schedule", rest.partition(" ")[0]) if word == "schedule" else []:
            if isinstance(told.envelope.event, schedule.Fired) and told.seq < at.seq and _is_for(told, at):
                return told, "its time had come"
        return None, "it came from outside"

    async def _of_work(self, at: Told) -> Told | None:
        """For the end of a message its newest step, for whatever else of it, or if it has none, the message itself."""
        agent_id, event = at.envelope.entity, at.envelope.event
        if isinstance(event, agent_events.Taken | agent_events.Requeued):
            return await self._received(agent_id, event.message)
        if not isinstance(event, agent_events.Finished | agent_events.DeadLettered | agent_events.Stumbled):
            return await self._worked_at(agent_id, at)
        message = await self._received(agent_id, event.message)
        step = await self._newest("agent", agent_id, at, agent_events.Stepped, agent_events.Answered)
        return step if step and message and _is_before(message, step) else message

    async def _worked_at(self, agent_id: str, at: Told) -> Told | None:
        """The message that an agent had taken up last."""
        taken = await self._newest("agent", agent_id, at, agent_events.Taken)
        event = taken.envelope.event if taken else None
        return await self._received(agent_id, event.message) if isinstance(event, agent_events.Taken) else None

    async def _received(self, agent_id: str, message: str) -> Told | None:
        for told in await self.history("agent", agent_id):
            event = told.envelope.event
            if isinstance(event, agent_events.Received) and event.message == message:
                return told
        return None

    async def _newest(self, kind: str, entity_id: str, at: Told, *types: type) -> Told | None:
        """The newest event of an entity before ``at``, of one of the ``types`` if some are given."""
        for told in reversed(await self.history(kind, entity_id)):
            if _is_before(told, at) and (not types or isinstance(told.envelope.event, types)):
                return told
        return None

    async def _caused_by(self, at: Told, cause: str) -> Told | None:
        """The event with the id ``cause``: where it most likely is first, and else in all that came before."""
        places = [(at.envelope.kind, at.envelope.entity), ("task", at.envelope.correlationid)]
        if sender := getattr(at.envelope.event, "sender", ""):
            places.insert(0, ("agent", sender))
        for kind, entity_id in places:
            for told in await self.history(kind, entity_id):
                if told.envelope.id == cause:
                    return told
        with working("Reading the log"):
            return await self._scanned(at.seq, cause.encode())

    async def _scanned(self, before: int, cause: bytes) -> Told | None:
        """From the event backwards, further each time: causes are near, mostly."""
        window = _WINDOW
        while before > 1:
            after = max(before - 1 - window, 0)
            found: Told | None = None
            async for batch in self._bus.log.read_all(after=after, upto=before - 1):
                for record in batch:
                    if cause in record.data:
                        found = next((t for t in events_of(record) if t.envelope.id == cause.decode()), found)
            if found:
                return found
            before, window = after + 1, window * 4
        return None


def _is_before(told: Told, at: Told) -> bool:
    if told.envelope.subject == at.envelope.subject:
        return told.envelope.version < at.envelope.version
    return told.seq < at.seq


def _is_for(fired: Told, at: Told) -> bool:
    event = at.envelope.event
    meant = event.message if isinstance(event, agent_events.Received) else at.envelope.entity
    return isinstance(fired.envelope.event, schedule.Fired) and fired.envelope.event.task == meant


def _followed(before: Told, at: Told) -> str:
    if before.envelope.subject == at.envelope.subject:
        return ""
    if isinstance(at.envelope.event, agent_events.Received):
        return "the message was brought"
    return f"{at.envelope.source.partition('#')[0]} acted on it"
