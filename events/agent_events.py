"""What can happen to an agent, as events; what may follow what is in `callboard.events.agent`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from msgspec import Struct

from callboard.events.ids import shard_of
from callboard.events.task_spec import Blob


class Value(Struct, frozen=True, gc=False, omit_defaults=True):
    """Some JSON, or where it lies in the blob store."""

    json: Any = None
    aside: Blob | None = None


NOTHING = Value()


class Manifest(Struct, frozen=True, gc=False, omit_defaults=True):
    """A context that goes along with a hand-off: which, as it was at which version, of about how many tokens."""

    context: str
    version: int
    tokens: int


class HandOff(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a hand-off promises: contexts, the budget to spend from, and until when an answer counts."""

    manifest: tuple[Manifest, ...] = ()
    budget: str | None = None
    deadline: datetime | None = None


class Defined(Struct, frozen=True, gc=False, omit_defaults=True):
    """A host serves agents of this definition, which has these tools and may hand off to these others.

    With ``private`` each is about a person: the one that its instance is named after, or the one that this names.
    ``approvals`` are those of the tools that a person is asked about before each call.
    """

    type: ClassVar[str] = "callboard.agent.defined.v1"
    description: str = ""
    tools: tuple[str, ...] = ()
    handoffs: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    private: bool | str = False


class Received(Struct, frozen=True, gc=False, omit_defaults=True):
    """A message came into the inbox.

    From the agent ``sender`` as its ``number``-th to this one, or from whoever ``by`` names, who is answered on the
    subject ``reply_to``. With a ``handoff`` the sender waits for the answer, as all in ``chain`` wait for the next.
    ``traceparent`` is the span that sent it. It is about the person that ``private`` names, and so is the work at it.
    """

    type: ClassVar[str] = "callboard.agent.received.v1"
    message: str
    body: Value
    sender: str = ""
    number: int = 0
    by: str = ""
    reply_to: str | None = None
    key: str | None = None
    chain: tuple[str, ...] = ()
    handoff: HandOff | None = None
    traceparent: str = ""
    private: str = ""


class Taken(Struct, frozen=True, gc=False, omit_defaults=True):
    """``host`` works on the message from now on, as the ``epoch``-th that works on anything of this agent."""

    type: ClassVar[str] = "callboard.agent.taken.v1"
    message: str
    host: str
    epoch: int


class Began(Struct, frozen=True, gc=False, omit_defaults=True):
    """A step begins; with a ``run`` over 1 it was begun before, and nobody saw its end.

    It may begin since the approval that the step ``needs`` asked for was given, if it names one.
    """

    type: ClassVar[str] = "callboard.agent.began.v1"
    step: str
    run: int = 1
    needs: str = ""


class StepFailure(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a step has no result. ``kind`` is the type of the exception; ``unknown`` if nobody saw the step's end."""

    kind: str
    message: str


class Stepped(Struct, frozen=True, gc=False, omit_defaults=True):
    """A step ended, with ``value`` or a ``failure``. If what it waited for has a place in the log, that is ``on``."""

    type: ClassVar[str] = "callboard.agent.stepped.v1"
    step: str
    value: Value = NOTHING
    failure: StepFailure | None = None
    on: str = ""


class Paused(Struct, frozen=True, gc=False, omit_defaults=True):
    """A step waits until its time has come."""

    type: ClassVar[str] = "callboard.agent.paused.v1"
    step: str
    until: datetime


class Rang(Struct, frozen=True, gc=False, omit_defaults=True):
    """The time of a step has come."""

    type: ClassVar[str] = "callboard.agent.rang.v1"
    step: str


class Sent(Struct, frozen=True, gc=False, omit_defaults=True):
    """A step that sends the ``number``-th message to the agent ``to``; the rest is as it will be `Received`."""

    type: ClassVar[str] = "callboard.agent.sent.v1"
    step: str
    to: str
    number: int
    message: str
    body: Value
    chain: tuple[str, ...] = ()
    handoff: HandOff | None = None
    traceparent: str = ""
    private: str = ""


class Answered(Struct, frozen=True, gc=False, omit_defaults=True):
    """The agent ``sender`` has answered a message, in its ``number``-th to this one; ``private`` as in `Received`."""

    type: ClassVar[str] = "callboard.agent.answered.v1"
    message: str
    sender: str
    number: int
    value: Value = NOTHING
    failure: StepFailure | None = None
    private: str = ""


class Late(Struct, frozen=True, gc=False, omit_defaults=True):
    """An answer came that nobody waits for any more; it changes nothing."""

    type: ClassVar[str] = "callboard.agent.late.v1"
    message: str
    sender: str
    number: int
    value: Value = NOTHING
    failure: StepFailure | None = None
    private: str = ""


class Remembered(Struct, frozen=True, gc=False, omit_defaults=True):
    """The agent keeps ``value`` under ``key``, for all messages to come; without a value it forgets."""

    type: ClassVar[str] = "callboard.agent.remembered.v1"
    key: str
    value: Value | None = None


class Rested(Struct, frozen=True, gc=False, omit_defaults=True):
    """All that is left of the message is to wait for ``waits``; nothing of the agent is in memory."""

    type: ClassVar[str] = "callboard.agent.rested.v1"
    waits: tuple[str, ...]


class Finished(Struct, frozen=True, gc=False, omit_defaults=True):
    """The message is done with; ``value`` is the answer, or there is none and ``failure`` is why.

    If an agent waits for it, it goes ``to`` that one, as the ``number``-th message to it; ``private`` as in `Received`.
    """

    type: ClassVar[str] = "callboard.agent.finished.v1"
    message: str
    value: Value = NOTHING
    failure: StepFailure | None = None
    to: str = ""
    number: int = 0
    private: str = ""


class Stumbled(Struct, frozen=True, gc=False, omit_defaults=True):
    """The handler failed on the message for the ``attempt``-th time, and is tried again at ``again``.

    If it was the failure of a ``step`` that it did not catch, then that is tried again too.
    """

    type: ClassVar[str] = "callboard.agent.stumbled.v1"
    message: str
    attempt: int
    failure: StepFailure
    again: datetime
    step: str = ""


class DeadLettered(Struct, frozen=True, gc=False, omit_defaults=True):
    """The message is set aside, after all that could be tried; whoever waits for an answer is told why.

    ``step`` as in `Stumbled`, should it be tried again; ``to``, ``number`` and ``private`` as in `Finished`.
    """

    type: ClassVar[str] = "callboard.agent.dead_lettered.v1"
    message: str
    failure: StepFailure
    step: str = ""
    to: str = ""
    number: int = 0
    private: str = ""


class Requeued(Struct, frozen=True, gc=False, omit_defaults=True):
    """A person wants a message that was set aside tried again; the steps that succeeded stay done."""

    type: ClassVar[str] = "callboard.agent.requeued.v1"
    message: str


AgentEvent: TypeAlias = (
    Defined
    | Received
    | Taken
    | Began
    | Stepped
    | Paused
    | Rang
    | Sent
    | Answered
    | Late
    | Remembered
    | Rested
    | Finished
    | Stumbled
    | DeadLettered
    | Requeued
)

Mail: TypeAlias = Sent | Finished | DeadLettered
"""What one agent tells another in an event of its own; only what goes ``to`` somebody is mail."""


def addressee(event: AgentEvent) -> tuple[str, ...]:
    """To whom mail goes, as the end of its subject: the shard of that agent and its id."""
    if isinstance(event, Mail) and event.to:
        return (str(shard_of(event.to)), event.to)
    return ()


def headline(events: Sequence[AgentEvent]) -> AgentEvent:
    """The event that gives their message its subject, since others wait for it: mail, or the end of a message."""
    return next((event for event in reversed(events) if isinstance(event, Mail)), events[-1])
