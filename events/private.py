"""Private events: of whom each is, and what everybody may know of it. Pure.

An event about a person is kept twice in its message: as it was said, encrypted (``sealed``), and without all that a
person said or was told (``data``): folds that need no more than that, such as projections, know nothing else. In place
of a text stands a note of whose it is, in place of a value a `Blob` without a hash. What is left is what somebody has
to know who works with it: ids, names (of tools, steps, keys, tags, agents), money, times, and how much text there was.
"""

from typing import Any, Final, TypeAlias, TypeGuard, TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from callboard.events import agent as agent_state
from callboard.events import agent_events as agent
from callboard.events import approval, context_events, schedule, task
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import ToolCall
from callboard.events.context import Context
from callboard.events.context_events import Put, Say
from callboard.events.errors import Forgotten
from callboard.events.placement import Hedged
from callboard.events.task_spec import Blob, TaskSpec, Text

Said: TypeAlias = (
    task.TaskEvent | context_events.ContextEvent | agent.AgentEvent | approval.ApprovalEvent | schedule.ScheduleEvent
)
"""The events that may be about a person."""

P = TypeVar("P", Put, Put | None)
F = TypeVar("F", agent.StepFailure, agent.StepFailure | None)

JSON: Final = "application/json"


def note(person: str) -> str:
    """What stands in place of a text that is about ``person``."""
    return f"[private: {person}]"


def forgotten_note(person: str) -> str:
    """The same, when nobody can read the text any more."""
    return f"[forgotten: {person}]"


def forgotten_reason(person: str) -> str:
    """Why nothing comes of what was asked of somebody who has been forgotten; no secret itself."""
    return str(Forgotten(person))


def is_hidden(value: object) -> TypeGuard[Blob]:
    """Whether a value stands for one that is private, and can't be read here."""
    return isinstance(value, Blob) and bool(value.private) and not value.sha256


def public(event: Said, person: str) -> Said:
    """What everybody may know of an event that is about ``person``; equal to the event if that is all of it."""
    if isinstance(event, task.TaskEvent):
        return _of_task(event, person)
    if isinstance(event, context_events.ContextEvent):
        return _of_context(event, person)
    if isinstance(event, agent.AgentEvent):
        return _of_agent(event, person)
    return _of_others(event, person)


def _of_task(event: task.TaskEvent, person: str) -> task.TaskEvent:
    match event:
        case task.Submitted():
            return task.Submitted(_spec(event.spec, person))
        case task.Completed() | Answered():
            calls = tuple(ToolCall(call.id, call.name, _note(call.arguments, person)) for call in event.tool_calls)
            return replace(event, output=_text(event.output, person), tool_calls=calls)
        case task.Failed():
            return replace(event, failure=replace(event.failure, message=_note(event.failure.message, person)))
        case task.Rejected():
            return replace(event, reason=_note(event.reason, person), payload=None)
        case task.Cancelled() | task.DeadLettered() | Declined() | Advised():
            return replace(event, reason=_note(event.reason, person))
        case task.Evaluated():
            return replace(event, note=_note(event.note, person))
        case task.Assigned() if event.decision.policy.startswith("agent/"):  # it quotes the advice
            return replace(event, decision=replace(event.decision, reason=note(person)))
        case task.Assigned() | Hedged() | task.Parked() | task.Released() | task.Started() | task.Interrupted():
            return event
        case task.Spent() | task.Expired() | task.Requeued():
            return event
        case _:
            assert_never(event)


def _of_context(event: context_events.ContextEvent, person: str) -> context_events.ContextEvent:
    match event:
        case context_events.Changed():
            return replace(event, operations=tuple(_operation(each, person) for each in event.operations))
        case context_events.Merged():
            operations = tuple(_operation(each, person) for each in event.operations)
            disagreements = tuple(
                replace(
                    each, base=_put(each.base, person), ours=_put(each.ours, person), theirs=_put(each.theirs, person)
                )
                for each in event.disagreements
            )
            return replace(event, operations=operations, disagreements=disagreements)
        case context_events.Compacted():
            return replace(event, summary=_text(event.summary, person))
        case context_events.Forked():
            return event
        case _:
            assert_never(event)


def _of_agent(event: agent.AgentEvent, person: str) -> agent.AgentEvent:
    match event:
        case agent.Received() | agent.Sent():
            return replace(event, body=_value(event.body, person))
        case agent.Stepped() | agent.Finished() | agent.Answered() | agent.Late():
            return replace(event, value=_value(event.value, person), failure=_failure(event.failure, person))
        case agent.Remembered():
            return replace(event, value=None if event.value is None else _value(event.value, person))
        case agent.Stumbled() | agent.DeadLettered():
            return replace(event, failure=_failure(event.failure, person))
        case agent.Defined() | agent.Taken() | agent.Began() | agent.Paused() | agent.Rang() | agent.Rested():
            return event
        case agent.Requeued():
            return event
        case _:
            assert_never(event)


def _of_others(event: approval.ApprovalEvent | schedule.ScheduleEvent, person: str) -> Said:
    match event:
        case approval.Requested():
            return replace(event, action=note(person), hash=note(person), question=_note(event.question, person))
        case approval.Approved() | approval.Denied():
            return replace(event, hash=note(person), note=_note(event.note, person))
        case approval.Ignored():
            return replace(event, note=_note(event.note, person))
        case approval.Expired() | approval.Superseded():
            return event
        case schedule.Planned():
            spec = event.spec and _spec(event.spec, person)
            letter = event.letter and replace(
                event.letter, body=event.letter.body and _value(event.letter.body, person)
            )
            return replace(event, spec=spec, letter=letter)
        case schedule.Removed():
            return replace(event, reason=_note(event.reason, person))
        case schedule.Fired():
            return event
        case _:
            assert_never(event)


def of_task(state: task.Task, event: task.TaskEvent) -> str:
    """The person that an event which follows on a task's state is about; empty if it is about none."""
    match event:
        case task.Submitted():
            return event.spec.private or ""
        case task.Rejected() if event.private:
            return event.private
    return (state.spec.private or "") if state.spec else ""


def of_context(state: Context, event: context_events.ContextEvent) -> str:
    """The same of a context's."""
    if not state.version and isinstance(event, context_events.Forked | context_events.Changed):
        return event.private
    return state.private


def of_agent(state: agent_state.AgentState, event: agent.AgentEvent) -> str:
    """The same of an agent's: mail says itself whose it is, all else is as the message that is worked at."""
    if isinstance(event, agent.Received | agent.Sent | agent.Answered | agent.Late) or not state.work:
        return getattr(event, "private", "")
    return state.work.received.private


def of_approval(state: approval.Approval, event: approval.ApprovalEvent) -> str:
    """The same of an approval's."""
    if isinstance(event, approval.Requested):
        return event.private
    return state.requested.private if state.requested else ""


def of_schedule(state: schedule.Schedule, event: schedule.ScheduleEvent) -> str:
    """The same of a schedule's."""
    planned = event if isinstance(event, schedule.Planned) else state.planned
    if planned is None:
        return ""
    return (planned.spec.private if planned.spec else planned.letter.private if planned.letter else "") or ""


def _note(text: str, person: str) -> str:
    return note(person) if text and text != forgotten_reason(person) else text


def _hidden(size: int, media: str, person: str) -> Blob:
    return Blob("", size, media, person)


def _text(text: Text, person: str) -> Text:
    if isinstance(text, Blob):
        return _hidden(text.size, text.media, person)
    return _hidden(len(text.encode(errors="replace")), "text/plain", person) if text else text


def _spec(spec: TaskSpec, person: str) -> TaskSpec:
    given: Text | Blob = spec.input if isinstance(spec.input, str | Blob) else _json(spec.input, person)
    return replace(
        spec,
        input=_text(given, person) or _hidden(0, "text/plain", person),
        system=spec.system and note(person),
        schema=None,
        tools=(),
        stop=(),
        shown=spec.shown and replace(spec.shown, newest=""),
    )


def _json(value: Any, person: str) -> Blob:
    return _hidden(len(msgspec.json.encode(value)), JSON, person)


def _value(value: agent.Value, person: str) -> agent.Value:
    if value.aside:
        return agent.Value(aside=_hidden(value.aside.size, value.aside.media, person))
    return value if value.json is None else agent.Value(aside=_json(value.json, person))


def _failure(failure: F, person: str) -> F:
    return failure and replace(failure, message=_note(failure.message, person))


def _operation(operation: context_events.Operation, person: str) -> context_events.Operation:
    match operation:
        case Say():
            calls = tuple(ToolCall(call.id, call.name, _note(call.arguments, person)) for call in operation.tool_calls)
            return replace(operation, content=_text(operation.content, person), tool_calls=calls)
        case Put():
            return _put(operation, person)
    return operation


def _put(put: P, person: str) -> P:
    if put is None:
        return put
    aside = put.artifact
    return Put(put.key, artifact=_hidden(aside.size, aside.media, person) if aside else _json(put.value, person))
