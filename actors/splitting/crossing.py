"""What is not done yet and belongs together must not be cut: it would wait for ever for what another log holds."""

from collections.abc import Iterable
from typing import Final

from callboard.bus.entities import AGENT, Entities
from callboard.bus.log import Bus
from callboard.bus.subjects import parse
from callboard.events import agent_events, schedule, task
from callboard.events.agent import Work
from callboard.events.context_version import context_version
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.ids import shard_of
from callboard.events.shards import Shards

FOLLOWED: Final = frozenset({"task", "schedule", "agent"})
"""Picked out here: nats-server takes ten times as long to find several kinds as to send all."""

SHOWN: Final = 3

_ENDS: Final = (task.Completed, task.Cancelled, task.Expired, task.DeadLettered, task.Rejected, schedule.Removed)
_Links = dict[tuple[str, str, str], list[tuple[str, str]]]
"""Of what is open, by kind and id and, of an agent, message: what it needs, by kind and id."""


async def check_uncut(bus: Bus, keep: Shards) -> None:
    """Raise InvalidInput if something that is open is of ``keep``, and needs what is not, or the other way round."""
    links, agents = await _links(bus)
    crossing = [
        f"{kind} {name} (shard {shard_of(name)}) needs {other} {needed} (shard {shard_of(needed)})"
        for (kind, name, _), needs in links.items()
        for other, needed in needs
        if keep.holds(kind, name) != keep.holds(other, needed) and (other != "agent" or needed in agents)
    ]
    if crossing:
        more = f", and {len(crossing) - SHOWN} more" if len(crossing) > SHOWN else ""
        raise InvalidInput(
            f"--keep {keep} cuts what belongs together: {'; '.join(crossing[:SHOWN])}{more}: let it end first, or plan "
            "it again under a name of the same shard, which a name begins with in hex, as 2f-plan"
        )


async def _links(bus: Bus) -> tuple[_Links, set[str]]:
    links: _Links = {}
    agents: set[str] = set()
    async for records in bus.log.read_all():
        for record in records:
            if parse(record.subject).kind not in FOLLOWED:
                continue
            try:
                envelopes = decode(record.data)
            except CallboardError:
                continue  # it is broken, and nothing goes on there
            for envelope in envelopes:
                _note(links, agents, envelope)
    entities = Entities(bus.log, AGENT, "split", keep=1)
    for name in sorted({name for kind, name, _ in links if kind == "agent"}):
        if work := (await entities.load(name)).state.work:
            links.setdefault(("agent", name, work.received.message), []).extend(_waited_for(work))
    return links, agents


def _note(links: _Links, agents: set[str], envelope: Envelope) -> None:
    kind, name = envelope.kind, envelope.entity
    if kind == "agent":
        agents.add(name)
    match envelope.event:
        case task.Submitted(spec=spec):
            context = [("context", context_version(spec.context)[0])] if spec.context else []
            links[kind, name, ""] = [
                *context,
                *(("task", each) for each in (spec.parent,) if each),
                *(("agent", each) for each in (spec.owner,) if each),
            ]
        case schedule.Planned(spec=spec, letter=letter):
            context = [("context", context_version(spec.context)[0])] if spec and spec.context else []
            told = letter if letter and name != f"agent-{letter.agent}" else None  # that its host plans again
            links[kind, name, ""] = [*context, *([("agent", told.agent)] if told else [])]
        case agent_events.Received(message=message, handoff=handoff):
            links[kind, name, message] = [("context", each.context) for each in handoff.manifest] if handoff else []
        case agent_events.Finished(message=message) | agent_events.DeadLettered(message=message):
            links.pop((kind, name, message), None)
        case event if isinstance(event, _ENDS):
            links.pop((kind, name, ""), None)


def _waited_for(work: Work) -> Iterable[tuple[str, str]]:
    """The tasks and approvals that an agent's steps have ended on, or wait for."""
    for where in (*work.waits, *(step.on for step in work.steps.values())):
        kind, _, name = where.partition("/")
        if kind in {"task", "approval"}:
            yield kind, name
