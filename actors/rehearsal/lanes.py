"""The three lanes of each message: what happened, what some code does of it again, and what other code would do."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from callboard.actors.agents.definition import Definition
from callboard.actors.rehearsal.record import Recorded, recorded
from callboard.actors.rehearsal.rehearsal import Lane, cost_of, rehearse
from callboard.bus.log import Bus
from callboard.bus.past import PastBus
from callboard.bus.subjects import parse
from callboard.events.agent_events import Defined
from callboard.events.agent_names import definition_of
from callboard.events.envelope import decode


class Rehearsed(NamedTuple):
    """A message as it was, of which the model calls ``cost`` so many micro-dollars, and its lanes.

    ``baseline`` is there if code for that was given.
    """

    message: Recorded
    cost: int
    baseline: Lane | None
    candidate: Lane


async def lanes(
    bus: Bus,
    candidate: Sequence[Definition],
    baseline: Sequence[Definition] = (),
    *,
    agent: str | None = None,
    upto: int | None = None,
) -> AsyncIterator[Rehearsed]:
    """Every message that an agent of these definitions was done with, agent by agent.

    Args:
        bus: where the record is; nothing is changed there.
        candidate: what may handle messages, one for each name.
        baseline: the same for what handled them then, so that it shows how faithful a rehearsal is.
        agent: the id of the only agent to look at.
        upto: the sequence after which the log is left out.

    Raises:
        Undecodable: a history can't be read.
        BusError: the log can't be reached, or has lost something that was put aside.
    """
    past = PastBus(bus, await bus.log.end() if upto is None else upto)
    named, before = ({each.name: each for each in definitions} for definitions in (candidate, baseline))
    known = await _defined(past)
    for agent_id in [agent] if agent else await _agents(past, named):
        for message in await recorded(past, agent_id):
            defined = {name: _newest(every, message.first) for name, every in known.items()}
            then = before.get(definition_of(agent_id))
            yield Rehearsed(
                message,
                await cost_of(past, message, message.work.steps),
                await rehearse(bus, then, message, defined) if then else None,
                await rehearse(bus, named[definition_of(agent_id)], message, defined),
            )


async def _agents(bus: Bus, definitions: Mapping[str, Definition]) -> list[str]:
    """The agents of these definitions, those that were heard of first in front."""
    found: dict[str, None] = {}
    async for batch in bus.log.read_all("evt.*.agent.*.taken"):
        found.update(dict.fromkeys(parse(record.subject).id for record in batch))
    return [each for each in found if definition_of(each) in definitions]


async def _defined(bus: Bus) -> dict[str, list[tuple[int, Defined]]]:
    """What each definition said of itself, and when, by name."""
    found: dict[str, list[tuple[int, Defined]]] = {}
    async for batch in bus.log.read_all("evt.*.agent.*.defined"):
        for record in batch:
            for envelope in decode(record.data):
                if isinstance(envelope.event, Defined):
                    found.setdefault(envelope.entity, []).append((record.seq, envelope.event))
    return found


def _newest(every: Sequence[tuple[int, Defined]], seq: int) -> Defined:
    """What was said last before a sequence, else what was said first."""
    return next((defined for said, defined in reversed(every) if said <= seq), every[0][1])
