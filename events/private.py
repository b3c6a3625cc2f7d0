"""Private events: of whom each is, and what everybody may know of it. Pure.

An event about a person is kept twice in its message: as it was said, encrypted (``sealed``), and without all that a
person said or was told (``data``): folds that need no more than that, such as projections, know nothing else. In place
of a text stands a note of whose it is, in place of a value a `Blob` without a hash. What is left is what somebody has
to know who works with it: ids, names (of tools, steps, keys, tags, agents), money, times, and how much text there was.
"""

from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard, TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from callboard.events import agent as agent_state
from callboard.events import agent_events as agent
from callboard.events import approval, context_events, schedule, task
from callboard.events.advice import Advised
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Tool, ToolCall
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


GONE: Final = "application/vnd.callboard.forgotten"
"""What a value is that nobody can read any more."""


class Veil(NamedTuple):
    """What stands in place of what ``person`` said: of a text, the ``note``; of a value, a `Blob` of this ``media``."""

    person: str
    note: str
    media: str = ""


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
    """Whether a value stands for one that is private, and was read without its key."""
    return isinstance(value, Blob) and bool(value.private) and not value.sha256


def is_forgotten(value: object) -> TypeGuard[Blob]:
    """Whether a value stands for one that is private, and that nobody can read any more."""
    return is_hidden(value) and value.media == GONE


def public(event: Said, person: str) -> Said:
    """What everybody may know of an event that is about ``person``; equal to the event if that is all of it."""
    return _veiled(event, Veil(person, note(person)))


def gone(event: Said, person: str) -> Said:
    """The same of an event that nobody can read any more."""
    return _veiled(event, Veil(person, forgotten_note(person), GONE))


def _veiled(event: Said, veil: Veil) -> Said:
    if isinstance(event, task.TaskEvent):
        return _of_task(event, veil)
    if isinstance(event, context_events.ContextEvent):
        return _of_context(event, veil)
    if isinstance(event, agent.AgentEvent):
        return _of_agent(event, veil)
    return _of_others(event, veil)


def _of_task(event: task.TaskEvent, veil: Veil) -> task.TaskEvent:
    match event:
        case task.Submitted():
            return task.Submitted(_spec(event.spec, veil))
        case task.Completed() | Answered():
            return replace(event, output=_text(event.output, veil), tool_calls=_calls(event.tool_calls, veil))
        case task.Failed():
            return replace(event, failure=replace(event.failure, message=_note(event.failure.message, veil)))
        case task.Rejected():
            return replace(event, reason=_note(event.reason, veil), payload=None)
        case task.Cancelled() | task.DeadLettered() | Declined() | Advised():
            return replace(event, reason=_note(event.reason, veil))
        case task.Evaluated():
            return replace(event, note=_note(event.note, veil))
        case task.Assigned() if event.decision.policy.startswith("agent/"):  # it quotes the advice
            return replace(event, decision=replace(event.decision, reason=veil.note))
        case task.Assigned() | Hedged() | task.Parked() | task.Released() | task.Started() | task.Interrupted():
            return event
        case task.Spent() | task.Expired() | task.Requeued():
            return event
        case _:
            assert_never(event)


def _of_context(event: context_events.ContextEvent, veil: Veil) -> context_events.ContextEvent:
    match event:
        case context_events.Changed():
            return replace(event, operations=tuple(_operation(each, veil) for each in event.operations))
        case context_events.Merged():
            operations = tuple(_operation(each, veil) for each in event.operations)
            disagreements = tuple(
                replace(each, base=_put(each.base, veil), ours=_put(each.ours, veil), theirs=_put(each.theirs, veil))
                for each in event.disagreements
            )
            return replace(event, operations=operations, disagreements=disagreements)
        case context_events.Compacted():
            return replace(event, summary=_text(event.summary, veil))
        case context_events.Forked():
            return event
        case _:
            assert_never(event)


def _of_agent(event: agent.AgentEvent, veil: Veil) -> agent.AgentEvent:
    match event:
        case agent.Received() | agent.Sent():
            return replace(event, body=_value(event.body, veil))
        case agent.Stepped() | agent.Finished() | agent.Answered() | agent.Late():
            return replace(event, value=_value(event.value, veil), failure=_failure(event.failure, veil))
        case agent.Remembered():
            return replace(event, value=None if event.value is None else _value(event.value, veil))
        case agent.Stumbled() | agent.DeadLettered():
            return replace(event, failure=_failure(event.failure, veil))
        case agent.Defined() | agent.Taken() | agent.Began() | agent.Paused() | agent.Rang() | agent.Rested():
            return event
        case agent.Requeued():
            return event
        case _:
            assert_never(event)


def _of_others(event: approval.ApprovalEvent | schedule.ScheduleEvent, veil: Veil) -> Said:
    match event:
        case approval.Requested():
            return replace(event, action=veil.note, hash=veil.note, question=_note(event.question, veil))
        case approval.Approved() | approval.Denied():
            return replace(event, hash=veil.note, note=_note(event.note, veil))
        case approval.Ignored():
            return replace(event, note=_note(event.note, veil))
        case approval.Expired() | approval.Superseded():
            return event
        case schedule.Planned():
            spec = event.spec and _spec(event.spec, veil)
            letter = event.letter and replace(event.letter, body=event.letter.body and _value(event.letter.body, veil))
            return replace(event, spec=spec, letter=letter)
        case schedule.Removed():
            return replace(event, reason=_note(event.reason, veil))
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


def _note(text: str, veil: Veil) -> str:
    return veil.note if text and text != forgotten_reason(veil.person) else text


def _calls(calls: tuple[ToolCall, ...], veil: Veil) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call.id, call.name, _note(call.arguments, veil)) for call in calls)


def _hidden(size: int, media: str, veil: Veil) -> Blob:
    return Blob("", size, veil.media or media, veil.person)


def _text(text: Text, veil: Veil) -> Text:
    if isinstance(text, Blob):
        return _hidden(text.size, text.media, veil)
    return _hidden(len(text.encode(errors="replace")), "text/plain", veil) if text else text


def _spec(spec: TaskSpec, veil: Veil) -> TaskSpec:
    given: Text | Blob = spec.input if isinstance(spec.input, str | Blob) else _json(spec.input, veil)
    return replace(
        spec,
        input=_text(given, veil) or _hidden(0, "text/plain", veil),
        system=spec.system and veil.note,
        schema=None if spec.schema is None else {},
        tools=tuple(Tool(tool.name, "", {}) for tool in spec.tools),
        stop=(),
        shown=spec.shown and replace(spec.shown, newest=""),
    )


def _json(value: Any, veil: Veil) -> Blob:
    return _hidden(len(msgspec.json.encode(value)), JSON, veil)


def _value(value: agent.Value, veil: Veil) -> agent.Value:
    if value.aside:
        return agent.Value(aside=_hidden(value.aside.size, value.aside.media, veil))
    return value if value.json is None else agent.Value(aside=_json(value.json, veil))


def _failure(failure: F, veil: Veil) -> F:
    return failure and replace(failure, message=_note(failure.message, veil))


def _operation(operation: context_events.Operation, veil: Veil) -> context_events.Operation:
    match operation:
        case Say():
            calls = _calls(operation.tool_calls, veil)
            return replace(operation, content=_text(operation.content, veil), tool_calls=calls)
        case Put():
            return _put(operation, veil)
    return operation


def _put(put: P, veil: Veil) -> P:
    if put is None:
        return put
    aside = put.artifact
    return Put(put.key, artifact=_hidden(aside.size, aside.media, veil) if aside else _json(put.value, veil))
