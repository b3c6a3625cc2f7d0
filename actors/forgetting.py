"""Forgetting a person: what was said becomes unreadable, what waits ends, and the log says who wanted that.

Nothing is taken out of the log: hash chains hold, and whatever was counted stays counted.
"""

from collections import defaultdict
from contextlib import suppress

from msgspec import Struct

from callboard.actors.approvals import Approvals
from callboard.actors.outcome import answer
from callboard.bus.entities import Entities
from callboard.bus.log import Bus
from callboard.events.approval import Denied, Status
from callboard.events.envelope import decode
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.private import forgotten_reason
from callboard.events.task import OPEN, DeadLettered, Task, TaskEvent


class Said(Struct, frozen=True):
    """What the log holds of a person: how many ``events``, and what they are of, as ids by kind (``task`` …).

    ``generation`` is that of the person's newest key, and ``forgotten`` whether it is destroyed.
    """

    person: str
    generation: int
    forgotten: bool
    events: int
    of: dict[str, tuple[str, ...]]


async def said_of(bus: Bus, person: str) -> Said:
    """What the log holds of a person, readable or not. The whole log is read.

    Raises InvalidInput when there never was anything.
    """
    state = await bus.privacy.keyring.state(checked_id(person, "person"))
    if not state.generation:
        raise InvalidInput(f"nothing private was ever said of {person!r}: there is no key of that name")
    events, mention = 0, b'"private":"%s"' % person.encode()
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    async for batch in bus.log.read_all():
        for record in batch:
            if mention in record.data:
                for envelope in decode(record.data):
                    if envelope.private == person:
                        events += 1
                        found[envelope.kind][envelope.entity] = None
    of = {kind: tuple(ids) for kind, ids in sorted(found.items())}
    return Said(person, state.generation, state.forgotten, events, of)


async def forget(bus: Bus, tasks: Entities[Task], approvals: Approvals, person: str, *, by: str, reason: str) -> Said:
    """Destroy a person's key, and end what waits; returns what can't be read any more. See `Board.forget`."""
    said = await said_of(bus, person)
    state = await bus.privacy.keyring.destroy(person, by, reason)

    def wish(task: Task) -> list[TaskEvent]:
        return [DeadLettered(forgotten_reason(person))] if task.status in OPEN else []

    for task_id in said.of.get("task", ()):
        told = await tasks.tell(task_id, wish)
        if told.appended:
            await answer(bus, told.entity)
    for approval_id in said.of.get("approval", ()):
        asked = await approvals.state(approval_id)
        if asked.status is Status.WAITING and asked.requested:  # nobody can tell any more what they would allow
            with suppress(IllegalTransition):  # somebody was faster
                await approvals.answer(approval_id, Denied(asked.requested.hash, by, forgotten_reason(person)))
    return Said(person, state.generation, True, said.events, said.of)
