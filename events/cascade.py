"""What lies between an answer and its acceptance: it is set aside while it is checked, and may be found wanting."""

from typing import ClassVar

from msgspec import Struct

from callboard.events.chat import ToolCall, Usage
from callboard.events.task_spec import Text


class Answered(Struct, frozen=True, gc=False, omit_defaults=True):
    """A call was answered, and the answer is set aside: it counts only if the task is completed with it.

    The call is settled here. Fields as those of ``completed``; ``scores`` is what was found of the answer already, by
    source, in parts per million.
    """

    type: ClassVar[str] = "callboard.task.answered.v1"
    backend: str
    call: int
    output: Text
    usage: Usage
    cost: int
    model: str
    finish: str = "stop"
    first_token: int = 0
    duration: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    estimated: bool = False
    scores: dict[str, int] = {}


class Declined(Struct, frozen=True, gc=False, omit_defaults=True):
    """The answer of ``call`` was found wanting; the router tries a better backend, or takes the best answer so far.

    ``score`` in parts per million. ``verification`` is what finding out cost, in micro-dollars, booked elsewhere.
    """

    type: ClassVar[str] = "callboard.task.declined.v1"
    backend: str
    call: int
    score: int
    reason: str = ""
    verification: int = 0
