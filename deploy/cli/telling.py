"""One event of any entity, told for a person in a short line. Pure."""

from typing import Any, Final

import msgspec

from callboard.deploy.cli import history
from callboard.deploy.cli.printing import clock, one_line, usd
from callboard.events import agent_events, approval, backend, budget, context_events, schedule
from callboard.events.agent_names import name_of
from callboard.events.envelope import Envelope
from callboard.events.task_spec import Blob

_ABOUT: Final = 80


def entity_name(envelope: Envelope) -> str:
    """``kind/id`` as people write it: agents by their names."""
    return f"agent/{name_of(envelope.entity)}" if envelope.kind == "agent" else envelope.subject


def told(event: Any) -> str:
    """What an event says."""
    if isinstance(event, agent_events.AgentEvent):
        return _of_agent(event)
    if isinstance(event, budget.BudgetEvent):
        return _of_budget(event)
    if isinstance(event, backend.BackendEvent):
        return _of_backend(event)
    if isinstance(event, context_events.ContextEvent):
        return _of_context(event)
    if isinstance(event, approval.ApprovalEvent):
        return _of_approval(event)
    if isinstance(event, schedule.ScheduleEvent):
        return _of_schedule(event)
    return history.told(event)


def _of_agent(event: agent_events.AgentEvent) -> str:
    match event:
        case agent_events.Defined():
            return one_line(event.description) + (f" (tools {', '.join(event.tools)})" if event.tools else "")
        case agent_events.Received():
            sender = f"agent {name_of(event.sender)}" if event.sender else event.by or "somebody"
            return f"message {event.message} from {sender}: {_value(event.body)}"
        case agent_events.Taken():
            return f"message {event.message} by host {event.host}, epoch {event.epoch}"
        case agent_events.Began():
            return f"step {event.step}" + (f", run {event.run}" if event.run > 1 else "")
        case agent_events.Stepped():
            on = f" (waited for {event.on})" if event.on else ""
            return f"step {event.step}: {_ending(event.value, event.failure)}{on}"
        case agent_events.Paused():
            return f"step {event.step} until {clock(event.until)}"
        case agent_events.Rang():
            return f"step {event.step}: its time has come"
        case agent_events.Sent():
            what = "hands over to" if event.handoff else "sends"
            return f"step {event.step} {what} agent {name_of(event.to)}: {_value(event.body)}"
        case agent_events.Answered() | agent_events.Late():
            return f"agent {name_of(event.sender)} to message {event.message}: {_ending(event.value, event.failure)}"
        case agent_events.Remembered():
            return f"{event.key} = {_value(event.value)}" if event.value else f"forgets {event.key}"
        case agent_events.Rested():
            return f"until {', '.join(event.waits)}"
        case agent_events.Finished():
            to = f", answers agent {name_of(event.to)}" if event.to else ""
            return f"message {event.message}: {_ending(event.value, event.failure)}{to}"
        case agent_events.Stumbled():
            return f"message {event.message}, try {event.attempt}: {_ending(None, event.failure)}"
        case agent_events.DeadLettered():
            return f"message {event.message}: {_ending(None, event.failure)}"
        case agent_events.Requeued():
            return f"message {event.message}"


def _of_budget(event: budget.BudgetEvent) -> str:
    match event:
        case budget.Granted():
            part = f", part of {event.parent}" if event.parent else ""
            return f"{usd(event.limit)}{part}; on breach: {event.on_breach}"
        case budget.Reserved():
            return f"{usd(event.amount)} for lease {event.hold}" + (f", owner {event.owner}" if event.owner else "")
        case budget.Sealed():
            return f"lease {event.hold}" + (f": {event.reason}" if event.reason else "")
        case budget.Settled():
            kept = f", {usd(event.kept)} stay held" if event.kept else ""
            return f"lease {event.hold}: {usd(event.amount)} spent so far{kept}"
        case budget.Refunded():
            return f"lease {event.hold} was not needed"
        case budget.Breached():
            return f"task {event.task} may need {usd(event.needed)}, {usd(event.left)} are left"


def _of_backend(event: backend.BackendEvent) -> str:
    match event:
        case backend.Registered():
            rules = event.spec.scaling
            scaling = f", {rules.min} to {rules.max} replicas by its load" if rules else ""
            return f"{event.spec.model} by {event.spec.provider}, {event.spec.concurrency} calls at a time{scaling}"
        case backend.Priced():
            price = event.price
            return f"{usd(price.input)} in and {usd(price.output)} out for a million tokens"
        case backend.Scaled():
            return f"to {event.replicas} replicas" + (f": {event.reason}" if event.reason else "")
        case backend.Drained():
            return event.reason
        case backend.Opened():
            return f"until {clock(event.until)}: {event.reason}" + ("; its tasks are taken away" * event.evicts)
        case backend.HalfOpened():
            return f"task {event.task} tries it" if event.task else ""
        case backend.Resumed() | backend.Closed() | backend.Removed():
            return ""


def _of_context(event: context_events.ContextEvent) -> str:
    match event:
        case context_events.Forked():
            return f"from {event.parent}@{event.at}"
        case context_events.Changed():
            by = f" by {event.by}" if event.by else ""
            return "; ".join(map(_operation, event.operations)) + by
        case context_events.Merged():
            both = f", both had changed {len(event.disagreements)}" if event.disagreements else ""
            return f"{event.source}@{event.at}: {len(event.operations)} changes{both}"
        case context_events.Compacted():
            return f"messages {event.first} to {event.last}: {_text(event.summary)}"


def _operation(operation: context_events.Operation) -> str:
    match operation:
        case context_events.Say():
            return f"{operation.role}: {_text(operation.content)}"
        case context_events.Put():
            return f"{operation.key} = {_json(operation.value) if operation.artifact is None else 'an artifact'}"
        case context_events.Drop():
            return f"drops {operation.key}"


def _of_approval(event: approval.ApprovalEvent) -> str:
    match event:
        case approval.Requested():
            asked = f" by {name_of(event.by)}" if event.by else ""
            return f"{event.question or _json(event.action)}{asked}"
        case approval.Approved() | approval.Denied():
            return f"by {event.by}" + (f": {event.note}" if event.note else "")
        case approval.Expired():
            return f"nobody answered by {clock(event.at)}"
        case approval.Superseded():
            return f"by {event.by}"
        case approval.Ignored():
            return f"{'yes' if event.approved else 'no'} of {event.by}: {event.reason}"


def _of_schedule(event: schedule.ScheduleEvent) -> str:
    match event:
        case schedule.Planned():
            what = f"a message to agent {name_of(event.letter.agent)}" if event.letter else "a task"
            return f"{what} at {event.cron} ({event.zone})"
        case schedule.Fired():
            return f"{event.task} for {clock(event.due)}" + (f", {event.missed} missed" if event.missed else "")
        case schedule.Removed():
            return event.reason


def _ending(value: agent_events.Value | None, failure: agent_events.StepFailure | None) -> str:
    return one_line(f"{failure.kind}: {failure.message}" if failure else _value(value), _ABOUT)


def _value(value: agent_events.Value | None) -> str:
    if value is None or value == agent_events.NOTHING:
        return "done"
    return f"{value.aside.size:,} bytes" if value.aside else one_line(_json(value.json), _ABOUT)


def _json(value: Any) -> str:
    return one_line(value if isinstance(value, str) else msgspec.json.encode(value).decode(), _ABOUT)


def _text(text: str | Blob) -> str:
    return f"{text.size:,} bytes" if isinstance(text, Blob) else f"“{one_line(text, _ABOUT)}”"
