"""Timers, set again from the log: after a restore, when those that there are may be of another moment than the log.

What fired between the copy of the timers and that of the log, or was replaced then, is in neither copy. The log says
what waits for a time, so each such timer is set once more; one that is there already is replaced.
"""

from typing import Any, Final

from callboard.actors import alarms
from callboard.actors.schedules import due_next
from callboard.bus.entities import AGENT, APPROVAL, SCHEDULE, TASK, Aggregate, Entities
from callboard.bus.log import Bus
from callboard.events import agent_events, approval, schedule, task
from callboard.events.agent import AgentState
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import CallboardError

FOLLOWED: Final = ("evt.*.task.>", "evt.*.approval.>", "evt.*.schedule.>", "evt.*.agent.>")

_KINDS: Final[tuple[Aggregate[Any], ...]] = (TASK, APPROVAL, SCHEDULE, AGENT)
_ENDS: Final = (
    *(task.Completed, task.Cancelled, task.Expired, task.DeadLettered, task.Rejected),
    *(approval.Approved, approval.Denied, approval.Expired, approval.Superseded),
    *(agent_events.Finished, agent_events.DeadLettered, schedule.Removed),
)


async def rearm(bus: Bus) -> int:
    """Set the timers of all that waits for a time; returns of how many tasks, approvals, schedules and agents.

    What is private need not be opened for this. An entity that can't be read is left to `callboard doctor`.
    """
    waiting: dict[tuple[str, str], None] = {}
    async for records in bus.log.read_all(*FOLLOWED):
        for record in records:
            try:
                envelopes = decode(record.data)
            except CallboardError:
                continue
            for envelope in envelopes:
                _note(waiting, envelope)
    armed = 0
    kinds = {kind.kind: Entities(bus.log, kind, "restore", keep=1) for kind in _KINDS}
    for kind, name in waiting:
        try:
            state = (await kinds[kind].load(name)).state
        except CallboardError:
            continue
        armed += await _arm(bus, state)
    return armed


def _note(waiting: dict[tuple[str, str], None], envelope: Envelope) -> None:
    what = (envelope.kind, envelope.entity)
    match envelope.event:
        case task.Submitted(spec=spec) if spec.deadline is not None:
            waiting[what] = None
        case task.Parked(until=until) if until is not None:
            waiting[what] = None
        case approval.Requested(expires=expires) if expires is not None:
            waiting[what] = None
        case task.Requeued() | schedule.Planned() | agent_events.Paused():
            waiting[what] = None
        case event if isinstance(event, _ENDS):
            waiting.pop(what, None)


async def _arm(bus: Bus, state: object) -> bool:
    """Whether there was a timer to set."""
    match state:
        case task.Task(id=name, spec=spec, status=status) if spec and status in task.OPEN:
            until = state.parked.until if state.parked else None
            await alarms.set_deadline(bus, name, spec.deadline, first=False)
            await alarms.set_wake(bus, name, until)
            return spec.deadline is not None or until is not None
        case approval.Approval(id=name, requested=asked, status=approval.Status.WAITING) if asked:
            await alarms.set_expiry(bus, name, asked.expires, first=False)
            return asked.expires is not None
        case schedule.Schedule(id=name):
            await alarms.set_due(bus, name, due := due_next(state))
            return due is not None
        case AgentState(id=name, work=work) if work:
            times = [step.until for step in work.steps.values() if step.until and not (step.done or step.rang)]
            if times:
                await alarms.set_rest(bus, name, min(times))
            return bool(times)
    return False
