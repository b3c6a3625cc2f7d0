"""How a task ended, as it is told to whoever waits on its reply subject.

Whoever ends a task answers, after the event is in the log and before the message that led to it is acknowledged: a
crash in between answers again rather than not at all.
"""

from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.claim_check import shown_text
from callboard.bus.entities import Loaded
from callboard.bus.errors import TooLarge
from callboard.bus.log import Bus
from callboard.events.chat import ToolCall, Usage
from callboard.events.private import is_hidden
from callboard.events.task import ENDED, Status, Task
from callboard.events.task_spec import Blob

MAX_INLINE: Final = 512 * 1024


class Outcome(Struct, frozen=True, omit_defaults=True):
    """The end of a task. ``output`` is the answer's text, or a reference when it is over 512 KiB.

    ``cost`` is in micro-dollars, ``duration`` and ``first_token`` in ns; ``reason`` says why there is no output.
    ``scores`` is how the answer was judged so far, by source, in parts per million.
    """

    task: str
    status: Status
    output: str | Blob | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    backend: str | None = None
    model: str | None = None
    finish: str | None = None
    usage: Usage = Usage()
    cost: int = 0
    first_token: int = 0
    duration: int = 0
    calls: int = 0
    reason: str = ""
    scores: dict[str, int] = {}


async def outcome_of(bus: Bus, task: Task) -> Outcome:
    """What to tell of a task as it stands; large outputs are fetched from the blob store."""
    done = task.completed if task.status is Status.COMPLETED else None
    if done is None:
        return Outcome(task.id, task.status, cost=task.cost, calls=task.call, reason=task.reason)
    output = done.output
    if isinstance(output, Blob) and (output.size <= MAX_INLINE or is_hidden(output)):
        output = await shown_text(bus, output)
    return Outcome(
        task=task.id,
        status=task.status,
        output=output,
        tool_calls=done.tool_calls,
        backend=done.backend,
        model=done.model,
        finish=done.finish,
        usage=done.usage,
        cost=task.cost,
        first_token=done.first_token,
        duration=done.duration,
        calls=task.call,
        scores=task.scores,
    )


async def answer(bus: Bus, loaded: Loaded[Task]) -> None:
    """Tell an ended task's outcome to its reply subject, if it has one."""
    task = loaded.state
    if task.status in ENDED and task.spec is not None and task.spec.reply_to:
        outcome = await outcome_of(bus, task)
        traceparent = loaded.context.traceparent if loaded.context else ""
        try:
            await bus.signals.publish(task.spec.reply_to, msgspec.json.encode(outcome), traceparent=traceparent)
        except TooLarge:  # as JSON some texts are six times as long
            referred = replace(outcome, output=task.completed and task.completed.output)
            await bus.signals.publish(task.spec.reply_to, msgspec.json.encode(referred), traceparent=traceparent)
