"""A context: what agents and tasks know and change together. What may happen to it, and its state.

It holds a conversation, whose messages are numbered from 0, and facts by key; a large value is an artifact in the blob
store. The rules, kept by `decide`:

- A change names the version that it was decided on. Whoever puts or drops what another changed since clashes: nothing
  of the change happens. What is said never clashes; it comes to the end.
- A fork begins as its parent was at some version: a pointer, nothing is copied. What either does later is its own.
- What one side of a fork has learned is merged into the other at most once. What both changed is a disagreement, which
  the merge records with whose was kept.
- Messages that were compacted are shown as their summary. A call of tools and their answers are kept together, and a
  later summary takes in an earlier one as a whole.
- A context is about one person (``private``) or about none, from its beginning. What is about somebody goes into no
  context that is not.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, assert_never

import msgspec
from msgspec import Struct

from callboard.events.context_events import (
    Changed,
    Compacted,
    ContextEvent,
    Drop,
    Forked,
    Merged,
    Operation,
    Put,
    Say,
)
from callboard.events.errors import Clash, IllegalTransition, InvalidInput
from callboard.events.growing import Growing
from callboard.events.persistent import Map
from callboard.events.task_spec import Blob

__all__ = [
    "Changed",
    "Compacted",
    "Context",
    "ContextEvent",
    "Drop",
    "Fact",
    "Forked",
    "Merged",
    "Operation",
    "Put",
    "Said",
    "Say",
    "check_whole",
    "decide",
    "evolve",
    "unpaired",
]


class Fact(Struct, frozen=True, gc=False):
    """What is known under a key since ``version``; ``dropped``: nothing any more."""

    version: int
    value: Any = None
    artifact: Blob | None = None
    dropped: bool = False

    def put(self, key: str) -> Put | None:
        """The operation that leads to it; None when it is dropped."""
        return None if self.dropped else Put(key, self.value, self.artifact)


class Said(Struct, frozen=True, gc=False):
    """A message, and the version since when it is there."""

    version: int
    message: Say


class Context(Struct, frozen=True, gc=False):
    """A context's own part: what happened since it was forked from ``parent`` at the version ``at``, if it was.

    ``version`` counts its events. ``inherited`` is the number of messages it began with. ``merged`` is up to which
    version others were taken over, ``causes`` are the changes that named one. ``private`` is whom it is about.
    """

    id: str
    version: int = 0
    parent: str = ""
    at: int = 0
    inherited: int = 0
    said: Growing[Said] = Growing()
    facts: Map[Fact] = Map()
    compactions: tuple[Compacted, ...] = ()
    merged: Map[int] = Map()
    causes: Map[int] = Map()
    private: str = ""

    @property
    def messages(self) -> int:
        """How many there are, those that it began with included."""
        return self.inherited + len(self.said)


def decide(context: Context, wish: ContextEvent) -> list[ContextEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said already.

    Raises:
        Clash: another changed the same keys since the version it was decided on.
        IllegalTransition: a fork of what exists, a merge of an older version than was merged.
        InvalidInput: a version that there is not, or a compaction of what can't be summed up so.
    """
    match wish:
        case Forked():
            return _forked(context, wish)
        case Changed():
            if wish.cause and wish.cause in context.causes:
                return []
            wish = _check_person(context, wish)
            _check_base(context, wish.base)
            lasting = [*_lasting(wish.operations)]
            _check_clash(context, wish.base, lasting)
            operations = tuple(each for each in lasting if not _is_known(context, each))
            return [msgspec.structs.replace(wish, operations=operations)] if operations else []
        case Merged():
            if (done := context.merged.get(wish.source, 0)) >= wish.at:
                return []
            if done and done != wish.since:
                raise Clash(f"context {context.id}: {wish.source} was merged up to {done} meanwhile: plan again", ())
            _check_base(context, wish.base)
            _check_clash(context, wish.base, wish.operations)
            return [wish]
        case Compacted():
            return _compacted(context, wish)
        case _:
            assert_never(wish)


def evolve(context: Context, event: ContextEvent) -> Context:
    """The state after ``event``; total, since what is in the log has happened."""
    replace, version = msgspec.structs.replace, context.version + 1
    match event:
        case Forked():
            begun = replace(context, version=version, parent=event.parent, at=event.at, inherited=event.messages)
            return replace(begun, private=event.private)
        case Changed():
            causes = context.causes.insert(event.cause, version) if event.cause else context.causes
            private = context.private if context.version else event.private
            return _after(replace(context, version=version, causes=causes, private=private), event.operations)
        case Merged():
            merged = context.merged.insert(event.source, event.at)
            return _after(replace(context, version=version, merged=merged), event.operations)
        case Compacted():
            apart = (each for each in context.compactions if each.last < event.first or each.first > event.last)
            ordered = sorted((*apart, event), key=lambda compaction: compaction.first)
            return replace(context, version=version, compactions=tuple(ordered))
        case _:
            assert_never(event)


def unpaired(messages: Sequence[Say]) -> tuple[str, ...]:
    """The ids of tool calls without their answer among these messages, and of answers without their call."""
    called = [call.id for message in messages for call in message.tool_calls]
    answered = [message.tool_call_id for message in messages if message.tool_call_id is not None]
    return tuple(dict.fromkeys([*_without(called, answered), *_without(answered, called)]))


def check_whole(context_id: str, first: int, last: int, messages: Sequence[Say]) -> None:
    """Raise InvalidInput when these messages, from ``first`` to ``last``, cut tool calls from their answers."""
    if cut := unpaired(messages):
        named = ", ".join(cut[:5])
        raise InvalidInput(
            f"context {context_id}: messages {first} to {last} cut tool calls from their answers ({named}): "
            "take in both, or neither"
        )


def _without(some: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    known = set(others)
    return (each for each in some if each not in known)


def _forked(context: Context, wish: Forked) -> list[ContextEvent]:
    if context.version == 0:
        return [wish]
    if (context.parent, context.at) == (wish.parent, wish.at):
        return []
    raise IllegalTransition(f"context {context.id} exists: a fork needs an id that is not taken")


def _check_person(context: Context, wish: Changed) -> Changed:
    """The change, as it is said of a context that is there; a new one is about whom the change is about."""
    if context.version and wish.private:
        if wish.private != context.private:
            whose = f"is about {context.private}" if context.private else "is private to nobody"
            raise InvalidInput(
                f"context {context.id} {whose}: what is said of {wish.private} can't go there; "
                "begin a context of its own"
            )
        return msgspec.structs.replace(wish, private="")
    return wish


def _check_base(context: Context, base: int) -> None:
    if not 0 <= base <= context.version:
        raise InvalidInput(f"context {context.id} has no version {base}: it is at {context.version}")


def _lasting(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Without those on a key that a later one overrides."""
    last = {each.key: number for number, each in enumerate(operations) if not isinstance(each, Say)}
    return (each for number, each in enumerate(operations) if isinstance(each, Say) or last[each.key] == number)


def _is_known(context: Context, operation: Operation) -> bool:
    """Whether a put or drop changes nothing."""
    match operation:
        case Put(key=key):
            fact = context.facts.get(key)
            return fact is not None and fact.put(key) == operation
        case Drop(key=key):
            fact = context.facts.get(key)
            return fact.dropped if fact else not context.parent
    return False


def _check_clash(context: Context, base: int, operations: Iterable[Operation]) -> None:
    keys = [each.key for each in operations if not isinstance(each, Say)]
    newer = [key for key in keys if (fact := context.facts.get(key)) and fact.version > base]
    if newer:
        named = ", ".join(newer[:5])
        raise Clash(
            f"context {context.id}: {named} changed after version {base}: read it again and decide again", tuple(newer)
        )


def _compacted(context: Context, wish: Compacted) -> list[ContextEvent]:
    if wish in context.compactions:
        return []
    what = f"context {context.id}: messages {wish.first} to {wish.last}"
    if not 0 <= wish.first <= wish.last < context.messages:
        raise InvalidInput(f"{what} can't be compacted: there are {context.messages}, numbered from 0")
    for earlier in context.compactions:
        crosses = earlier.first <= wish.last and wish.first <= earlier.last
        if crosses and not (wish.first <= earlier.first and earlier.last <= wish.last):
            raise InvalidInput(
                f"{what} cut an earlier summary, of {earlier.first} to {earlier.last}: take all of it in"
            )
    own = context.said[max(wish.first - context.inherited, 0) : max(wish.last + 1 - context.inherited, 0)]
    if wish.first >= context.inherited:
        check_whole(context.id, wish.first, wish.last, [said.message for said in own])
    return [wish]


def _after(context: Context, operations: Iterable[Operation]) -> Context:
    said, facts, version = context.said, context.facts, context.version
    for operation in operations:
        match operation:
            case Say():
                said = said.append(Said(version, operation))
            case Put():
                facts = facts.insert(operation.key, Fact(version, operation.value, operation.artifact))
            case Drop():
                facts = facts.insert(operation.key, Fact(version, dropped=True))
            case _:
                assert_never(operation)
    return msgspec.structs.replace(context, said=said, facts=facts)
