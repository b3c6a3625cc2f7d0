"""What can happen to a context, as events; what may follow what is in `callboard.events.context`."""

from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import Struct

from callboard.events.chat import Role, ToolCall
from callboard.events.task_spec import Blob, Text

Prefer: TypeAlias = Literal["ours", "theirs"]


class Say(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="op", tag="say"):
    """A message comes to the end of the conversation.

    ``origin`` is ``CONTEXT:NUMBER`` where it was first said, if that is not here.
    """

    role: Role
    content: Text
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    origin: str = ""


class Put(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="op", tag="put"):
    """``key`` is known to be ``value`` (JSON), or to be the ``artifact`` in the blob store."""

    key: str
    value: Any = None
    artifact: Blob | None = None


class Drop(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="op", tag="drop"):
    """Nothing is known under ``key`` any more."""

    key: str


Operation: TypeAlias = Say | Put | Drop


class Disagreement(Struct, frozen=True, gc=False, omit_defaults=True):
    """Both sides of a merge changed ``key`` to something else; None stands for nothing known."""

    key: str
    base: Put | None = None
    ours: Put | None = None
    theirs: Put | None = None


class Forked(Struct, frozen=True, gc=False, omit_defaults=True):
    """The context begins as ``parent`` was at its version ``at``, when that had so many ``messages``.

    What is said here is about the person that ``private`` names, if any.
    """

    type: ClassVar[str] = "callboard.context.forked.v1"
    parent: str
    at: int
    messages: int
    private: str = ""


class Changed(Struct, frozen=True, gc=False, omit_defaults=True):
    """``operations`` decided on the version ``base``, by whom ``by`` names. The same ``cause`` changes it once.

    The first one says with ``private`` whether all of the context is about a person, and about whom.
    """

    type: ClassVar[str] = "callboard.context.changed.v1"
    base: int
    operations: tuple[Operation, ...]
    by: str = ""
    cause: str = ""
    private: str = ""


class Merged(Struct, frozen=True, gc=False, omit_defaults=True):
    """What ``source`` has as of its version ``at``, since its version ``since``, is taken over on the version ``base``.

    ``disagreements`` are what both had changed; ``prefer`` says whose was kept.
    """

    type: ClassVar[str] = "callboard.context.merged.v1"
    source: str
    at: int
    since: int
    base: int
    operations: tuple[Operation, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    prefer: Prefer | None = None
    by: str = ""


class Compacted(Struct, frozen=True, gc=False, omit_defaults=True):
    """The messages from ``first`` to ``last``, of so many ``tokens``, are shown as ``summary`` from now on.

    They are numbered from 0, and stay readable.
    """

    type: ClassVar[str] = "callboard.context.compacted.v1"
    first: int
    last: int
    summary: Text
    tokens: int = 0
    by: str = ""


ContextEvent: TypeAlias = Forked | Changed | Merged | Compacted
