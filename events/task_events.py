"""What can happen to a task, as events; what may follow what is in `callboard.events.task`."""

from datetime import datetime
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec import Struct

from callboard.events.chat import ToolCall, Usage
from callboard.events.task_spec import Decision, Failure, Hold, TaskSpec, Text


class Submitted(Struct, frozen=True, gc=False, omit_defaults=True):
    """Somebody asked."""

    type: ClassVar[str] = "callboard.task.submitted.v1"
    spec: TaskSpec


class Rejected(Struct, frozen=True, gc=False, omit_defaults=True):
    """It can never be done as asked. ``payload`` is the start of what was sent, when it could not be read.

    It is about the person that ``private`` names, if any.
    """

    type: ClassVar[str] = "callboard.task.rejected.v1"
    reason: str
    payload: str | None = None
    private: str = ""


class Parked(Struct, frozen=True, gc=False, omit_defaults=True):
    """It can't be placed now; looked at again at ``until``, or when a backend that it ``waits`` for can take it.

    If it waits for advice, when task ``asks`` ends. If for money, ``needed`` micro-dollars of ``budget``: they are held
    for others and may come back, or, with ``breach``, are not there until somebody raises the limit.
    """

    type: ClassVar[str] = "callboard.task.parked.v1"
    reason: str
    until: datetime | None = None
    budget: str | None = None
    needed: int = 0
    breach: bool = False
    asks: str = ""
    waits: tuple[str, ...] = ()


class Assigned(Struct, frozen=True, gc=False, omit_defaults=True):
    """The router chose a backend, for the ``attempt``-th time. ``tokens`` is the predicted work, in and out.

    ``cached`` of them are probably in the backend's prefix cache; ``service`` is the predicted time of the call in ns,
    once it begins. Among what waits for the backend, the highest ``priority`` is first. ``hold`` is the money set aside
    for the call of a task with a budget. The answer has to pass ``check``, if one is named.
    """

    type: ClassVar[str] = "callboard.task.assigned.v2"
    backend: str
    attempt: int
    tokens: int
    decision: Decision
    priority: int = 0
    cached: int = 0
    service: int = 0
    hold: Hold | None = None
    check: str = ""


class Released(Struct, frozen=True, gc=False, omit_defaults=True):
    """Given back to the router: unstarted, woken from being parked, or after an interrupted call.

    ``backend`` no longer has it; without one, none has.
    """

    type: ClassVar[str] = "callboard.task.released.v1"
    reason: str
    backend: str = ""


class Started(Struct, frozen=True, gc=False, omit_defaults=True):
    """A worker is about to make the task's ``call``-th model call."""

    type: ClassVar[str] = "callboard.task.started.v1"
    backend: str
    call: int
    worker: str


class Interrupted(Struct, frozen=True, gc=False, omit_defaults=True):
    """The worker of ``call`` went away, or is given up; whether the model answered, and its cost, is not yet known."""

    type: ClassVar[str] = "callboard.task.interrupted.v1"
    backend: str
    call: int


class Completed(Struct, frozen=True, gc=False, omit_defaults=True):
    """The answer. ``cost`` in micro-dollars; ``first_token`` and ``duration`` in ns from the start of the call.

    ``booked`` says that it was set aside before, and its call settled then.
    """

    type: ClassVar[str] = "callboard.task.completed.v1"
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
    booked: bool = False


class Failed(Struct, frozen=True, gc=False, omit_defaults=True):
    """A call ended without an answer; the router decides what next. What was spent all the same is booked here."""

    type: ClassVar[str] = "callboard.task.failed.v1"
    backend: str
    call: int
    failure: Failure
    usage: Usage = Usage()
    cost: int = 0
    duration: int = 0


class Spent(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a call cost whose answer was no longer wanted: cancelled, expired or overtaken by another call.

    ``waited`` is how long (ns) it went without a first token, 0 if there was one.
    """

    type: ClassVar[str] = "callboard.task.spent.v1"
    backend: str
    call: int
    usage: Usage
    cost: int
    reason: str
    waited: int = 0


class Cancelled(Struct, frozen=True, gc=False, omit_defaults=True):
    """Somebody no longer wants it."""

    type: ClassVar[str] = "callboard.task.cancelled.v1"
    reason: str = ""


class Expired(Struct, frozen=True, gc=False, omit_defaults=True):
    """Its deadline passed."""

    type: ClassVar[str] = "callboard.task.expired.v1"
    deadline: datetime


class DeadLettered(Struct, frozen=True, gc=False, omit_defaults=True):
    """Given up after all that could be tried; a person may requeue it."""

    type: ClassVar[str] = "callboard.task.dead_lettered.v1"
    reason: str


class Requeued(Struct, frozen=True, gc=False, omit_defaults=True):
    """A person wants a dead letter tried again, from the beginning."""

    type: ClassVar[str] = "callboard.task.requeued.v1"


Source: TypeAlias = Literal["user", "test", "schema", "judge", "cascade"]
"""Who judged an answer: a person, a test, its JSON Schema, a model, or a cascade's check."""

PERFECT: Final = 1_000_000


class Evaluated(Struct, frozen=True, gc=False, omit_defaults=True):
    """How good the answer of ``call`` is, in parts per million: 0 is worthless, 1,000,000 could not be better."""

    type: ClassVar[str] = "callboard.task.evaluated.v1"
    backend: str
    call: int
    score: int
    source: Source = "user"
    note: str = ""
