"""Events without what they carry for others: the audit keeps who did what, not what was said."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from callboard.events import agent_events, approval, task
from callboard.events.agent_events import NOTHING, Value
from callboard.events.cascade import Answered
from callboard.events.chat import ToolCall
from callboard.events.context import Changed, Compacted, Merged, Operation, Put, Say
from callboard.events.task_spec import NO_NEEDS, Blob, Needs, TaskSpec

PLAIN: Final = TaskSpec("")


def spec_without_text(spec: TaskSpec) -> TaskSpec:
    """What a task may and must; what its schema and tools need counts as asked for."""
    needs = spec.needs
    implied = (("schema", spec.schema is not None), ("tools", bool(spec.tools)))
    if more := tuple(name for name, given in implied if given and name not in needs.capabilities):
        needs = Needs((*needs.capabilities, *more), needs.context, needs.data_policy)
    if needs == NO_NEEDS and spec.max_cost is None and spec.backend is None and spec.budget is None:
        return PLAIN
    return TaskSpec("", needs=needs, max_cost=spec.max_cost, backend=spec.backend, budget=spec.budget)


def _submitted(event: task.Submitted) -> task.Submitted:
    return task.Submitted(spec_without_text(event.spec))


def _completed(event: task.Completed) -> task.Completed:
    return task.Completed(event.backend, event.call, "", event.usage, event.cost, event.model, booked=event.booked)


def _answered(event: Answered) -> Answered:
    return Answered(event.backend, event.call, "", event.usage, event.cost, event.model)


def _parked(event: task.Parked) -> task.Parked:
    return task.Parked("", budget=event.budget, asks=event.asks)


def _operation(operation: Operation) -> Operation:
    match operation:
        case Say():
            calls = tuple(ToolCall(call.id, call.name, "") for call in operation.tool_calls)
            return Say(operation.role, "", calls, operation.tool_call_id)
        case Put(value=value) if value is not None:
            return Put(operation.key, _digest(value), operation.artifact)
    return operation


def _changed(event: Changed) -> Changed:
    return replace(event, operations=tuple(map(_operation, event.operations)))


def _merged(event: Merged) -> Merged:
    return replace(event, operations=tuple(map(_operation, event.operations)), disagreements=())


def _requested(event: approval.Requested) -> approval.Requested:
    tool = event.action.get("tool") if isinstance(event.action, dict) else None
    return replace(event, action=tool if isinstance(tool, str) else None, question="")


def _remembered(event: agent_events.Remembered) -> agent_events.Remembered:
    value = event.value
    if value is None or hides(event):
        return event
    return replace(event, value=Value(_digest(msgspec.to_builtins(value))))


def _valueless(event: Any) -> Any:
    return event if event.value is NOTHING or event.value == NOTHING else replace(event, value=NOTHING)


def _bodiless(event: Any) -> Any:
    return replace(event, body=NOTHING)


_SLIM: Final[dict[type[Any], Callable[[Any], Any]]] = {
    task.Submitted: _submitted,
    task.Completed: _completed,
    task.Parked: _parked,
    Answered: _answered,
    Changed: _changed,
    Merged: _merged,
    Compacted: lambda event: replace(event, summary=""),
    approval.Requested: _requested,
    agent_events.Remembered: _remembered,
    agent_events.Stepped: _valueless,
    agent_events.Answered: _valueless,
    agent_events.Late: _valueless,
    agent_events.Finished: _valueless,
    agent_events.Received: _bodiless,
    agent_events.Sent: _bodiless,
}


def slim(event: Any) -> Any:
    """The event without texts and values; a value that is compared is its hash."""
    thin = _SLIM.get(type(event))
    return event if thin is None else thin(event)


def hides(event: Any) -> bool:
    """Whether a value in it can't be read here, so that two that differ look alike: its blob has no hash."""
    match event:
        case agent_events.Remembered(value=Value(aside=Blob(sha256=""))):
            return True
        case Changed() | Merged():
            return any(
                isinstance(each, Put) and each.artifact is not None and not each.artifact.sha256
                for each in event.operations
            )
    return False


def _digest(value: Any) -> str:
    return sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]
