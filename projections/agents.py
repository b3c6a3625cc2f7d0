"""Every agent at a glance, and which of them have something to do: what hosts go by."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from callboard.events import agent_events, approval, task
from callboard.events.agent import is_elsewhere
from callboard.events.envelope import Envelope
from callboard.events.persistent import Map
from callboard.projections.projection import Projection

FOLLOWED: Final = ("evt.*.agent.>", "evt.*.task.>", "evt.*.approval.>")
"""The subjects that this needs."""


class AgentRow(Struct, frozen=True, gc=False, omit_defaults=True):
    """One agent at a glance.

    It works at the message ``work``, if at any, on ``host``, and ``waiting`` others are in its inbox. While it rests,
    ``waits`` is what for, and ``due`` says that something of that has come. ``dead`` messages were set aside.
    """

    id: str
    changed: datetime
    host: str = ""
    epoch: int = 0
    work: str = ""
    waiting: int = 0
    waits: tuple[str, ...] = ()
    rests: bool = False
    due: bool = False
    finished: int = 0
    dead: int = 0
    failure: str = ""

    @property
    def runnable(self) -> bool:
        """Whether there is something to do for it now."""
        return (not self.rests or self.due) if self.work else self.waiting > 0


class Agents(Struct, frozen=True, gc=False):
    """Rows of agents by id, those that are ``runnable``, and what is ``defined`` by name.

    ``awaited`` are the open tasks and approvals of agents, as ``task/ID``, each with its agent. Of those that an agent
    rests for, ``resting`` tells the same until it is taken up again.
    """

    by_id: Map[AgentRow] = Map()
    runnable: Map[bool] = Map()
    defined: Map[agent_events.Defined] = Map()
    awaited: Map[str] = Map()
    resting: Map[str] = Map()


def apply(state: Agents, envelope: Envelope) -> Agents:
    """The state after one event."""
    match envelope.kind:
        case "agent":
            return _of_agent(state, envelope)
        case "task" | "approval":
            return _of_what_is_awaited(state, envelope)
    return state


def _of_agent(state: Agents, envelope: Envelope) -> Agents:
    event, name = envelope.event, envelope.entity
    if isinstance(event, agent_events.Defined):
        return msgspec.structs.replace(state, defined=state.defined.insert(name, event))
    before = state.by_id.get(name) or AgentRow(name, envelope.time)
    after = _row(state, before, envelope)
    if after is before:
        return state
    return _with(_resting(state, before, after), msgspec.structs.replace(after, changed=envelope.time))


def _resting(state: Agents, before: AgentRow, after: AgentRow) -> Agents:
    if before.waits == after.waits:
        return state
    resting = state.resting
    for wait in filter(is_elsewhere, before.waits):
        resting = resting.discard(wait)
    for wait in filter(is_elsewhere, after.waits):
        resting = resting.insert(wait, after.id)
    return msgspec.structs.replace(state, resting=resting)


def _row(state: Agents, row: AgentRow, envelope: Envelope) -> AgentRow:
    event, replace = envelope.event, msgspec.structs.replace
    up = {"waits": (), "rests": False, "due": False}
    match event:
        case agent_events.Received():
            return replace(row, waiting=row.waiting + 1)
        case agent_events.Requeued():
            return replace(row, waiting=row.waiting + 1, dead=row.dead - 1)
        case agent_events.Taken():
            waiting = row.waiting if row.work else row.waiting - 1
            return replace(row, work=event.message, waiting=waiting, host=event.host, epoch=event.epoch, **up)
        case agent_events.Rested():
            due = any(is_elsewhere(wait) and wait not in state.awaited for wait in event.waits)
            return replace(row, waits=event.waits, rests=True, due=due)
        case agent_events.Rang(step=name) if f"timer/{name}" in row.waits:
            return replace(row, due=True)
        case agent_events.Answered(message=message) if f"answer/{message}" in row.waits:
            return replace(row, due=True)
        case agent_events.Began() | agent_events.Stepped() | agent_events.Paused() | agent_events.Sent() if row.rests:
            return replace(row, **up)
        case agent_events.Finished():
            return replace(row, work="", finished=row.finished + 1, failure="", **up)
        case agent_events.Stumbled():
            return replace(row, failure=event.failure.message, **up)
        case agent_events.DeadLettered():
            return replace(row, work="", dead=row.dead + 1, failure=event.failure.message, **up)
    return row


def _of_what_is_awaited(state: Agents, envelope: Envelope) -> Agents:
    event, wait = envelope.event, envelope.subject
    match event:
        case task.Submitted(spec=spec):
            owner = spec.owner
        case approval.Requested(by=owner):
            pass
        case _ if isinstance(event, _ENDS) and (owner := state.awaited.get(wait)):
            left = msgspec.structs.replace(state, awaited=state.awaited.discard(wait))
            row = left.by_id.get(owner)
            return _with(left, msgspec.structs.replace(row, due=True)) if row and wait in row.waits else left
        case _:
            return state
    return msgspec.structs.replace(state, awaited=state.awaited.insert(wait, owner)) if owner else state


def _with(state: Agents, row: AgentRow) -> Agents:
    by_id = state.by_id.insert(row.id, row)
    runnable = state.runnable.insert(row.id, True) if row.runnable else state.runnable.discard(row.id)
    return msgspec.structs.replace(state, by_id=by_id, runnable=runnable)


_ENDS: Final = (
    task.Completed,
    task.Cancelled,
    task.Expired,
    task.DeadLettered,
    task.Rejected,
    approval.Approved,
    approval.Denied,
    approval.Expired,
    approval.Superseded,
)

AGENTS: Final = Projection("agents", 1, Agents, apply)
