"""What is in a context, all in all: its own part and what it was forked from. Pure: reading, comparing, merging."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from callboard.events.chat import Message, estimated_tokens, prompt_length
from callboard.events.context import Context, Fact, Operation, Put, Say
from callboard.events.context_events import Compacted, Disagreement, Drop, Prefer
from callboard.events.task_spec import Blob, Text


class Content(Struct, frozen=True):
    """What a context holds at its ``version``.

    ``messages`` are all of them, compacted or not, by number; ``origins`` says where each was first said, as
    ``CONTEXT:NUMBER``. ``facts`` is what is known, by key. ``private`` is the person that it is about, if any.
    """

    id: str
    version: int
    messages: tuple[Say, ...] = ()
    origins: tuple[str, ...] = ()
    facts: dict[str, Fact] = {}
    compactions: tuple[Compacted, ...] = ()
    private: str = ""

    def shown(self) -> Iterator[Say | Compacted]:
        """The conversation as a model sees it: a summary in place of what it sums up."""
        number = 0
        for compaction in self.compactions:
            yield from self.messages[number : compaction.first]
            yield compaction
            number = compaction.last + 1
        yield from self.messages[number:]

    @property
    def tokens(self) -> int:
        """About how many the conversation has as it is shown."""
        return sum(tokens_of(each) for each in self.shown())


class Difference(NamedTuple):
    """What one content has that another had not: messages, what is known anew or otherwise, what no longer."""

    said: tuple[Say, ...]
    put: tuple[Put, ...]
    dropped: tuple[str, ...]


class Plan(NamedTuple):
    """What a merge takes over, and what both sides have changed to something else."""

    operations: tuple[Operation, ...]
    disagreements: tuple[Disagreement, ...]


def content_of(line: Sequence[Context]) -> Content:
    """The content of the last of a line, in which each was forked from the one before it.

    All but the last are as they were at the version that they were forked at.
    """
    messages: list[Say] = []
    origins: list[str] = []
    facts: dict[str, Fact] = {}
    compactions: tuple[Compacted, ...] = ()
    for context in line:
        for number, said in enumerate(context.said, context.inherited):
            messages.append(said.message)
            origins.append(said.message.origin or f"{context.id}:{number}")
        facts |= context.facts
        own = context.compactions
        compactions = (*(each for each in compactions if not any(_within(each, later) for later in own)), *own)
    known = {key: fact for key, fact in sorted(facts.items()) if not fact.dropped}
    compactions = tuple(sorted(compactions, key=lambda compaction: compaction.first))
    newest = line[-1]
    return Content(newest.id, newest.version, tuple(messages), tuple(origins), known, compactions, newest.private)


def tokens_of(shown: Say | Compacted) -> int:
    """About how many tokens a message has, or a summary in its place."""
    if isinstance(shown, Compacted):
        return estimated_tokens(_length(shown.summary))
    text = shown.content if isinstance(shown.content, str) else ""
    aside = shown.content.size if isinstance(shown.content, Blob) else 0
    return estimated_tokens(prompt_length([Message(shown.role, text, shown.tool_calls)], None, ()) + aside)


def older(content: Content, keep: int) -> tuple[int, int] | None:
    """The numbers of the first and last message that a summary may stand for, so that about ``keep`` tokens are left.

    It begins with the first of all, keeps calls of tools together with their answers, and takes in earlier summaries
    as a whole. None when there is nothing more to sum up.
    """
    last = len(content.messages) - 1
    while last >= 0 and keep > 0:
        keep -= tokens_of(content.messages[last])
        last -= 1
    waiting: set[str] = set()
    whole = -1
    for number, message in enumerate(content.messages[: last + 1]):
        waiting |= {call.id for call in message.tool_calls}
        waiting.discard(message.tool_call_id or "")
        if not waiting and not any(each.first <= number < each.last for each in content.compactions):
            whole = number
    known = any(each.first == 0 and each.last >= whole for each in content.compactions)
    return None if whole < 1 or known else (0, whole)


def difference(before: Content, after: Content) -> Difference:
    """What came from ``before`` to ``after``."""
    known = set(before.origins)
    said = tuple(say for say, origin in zip(after.messages, after.origins, strict=True) if origin not in known)
    puts = (fact.put(key) for key, fact in after.facts.items() if not _same(before.facts.get(key), fact))
    dropped = tuple(key for key in before.facts if key not in after.facts)
    return Difference(said, tuple(put for put in puts if put), dropped)


def plan(ours: Content, theirs: Content, since: Content, seen: Content, prefer: Prefer | None = None) -> Plan:
    """How ``ours`` takes over what ``theirs`` has learned.

    ``since`` is theirs as ours last took it over, and ``seen`` is ours as theirs last did, or as both stood when one
    was forked from the other. A key that both changed since then, to something else, stays as it is in ours unless
    theirs is to be preferred.
    """
    known = set(ours.origins)
    operations: list[Operation] = [
        msgspec.structs.replace(say, origin=origin)
        for say, origin in zip(theirs.messages, theirs.origins, strict=True)
        if origin not in known
    ]
    disagreements = []
    for key in sorted(since.facts.keys() | theirs.facts.keys()):
        base, our, their = (_put(content, key) for content in (since, ours, theirs))
        if their in (base, our):
            continue
        if our not in (base, _put(seen, key)):
            disagreements.append(Disagreement(key, base, our, their))
            if prefer != "theirs":
                continue
        operations.append(their or Drop(key))
    return Plan(tuple(operations), tuple(disagreements))


def first_part(planned: Plan, size: int) -> tuple[Operation, ...]:
    """What to take over first of a plan of more than ``size`` bytes, about so much of it; nothing of a smaller one.

    Whatever there is a disagreement about is left for the last, with all that is told of it.
    """
    disputed = {each.key for each in planned.disagreements}
    part: list[Operation] = []
    if sum(map(size_of, planned.operations)) > size:
        for operation in planned.operations:
            if isinstance(operation, Say) or operation.key not in disputed:
                part.append(operation)
                size -= size_of(operation)
            if size <= 0:
                break
    return tuple(part)


def size_of(operation: Operation) -> int:
    """The bytes that it takes in the log."""
    return len(msgspec.json.encode(operation))


def _within(inner: Compacted, outer: Compacted) -> bool:
    return outer.first <= inner.first and inner.last <= outer.last


def _put(content: Content, key: str) -> Put | None:
    fact = content.facts.get(key)
    return fact.put(key) if fact else None


def _same(one: Fact | None, other: Fact) -> bool:
    return one is not None and (one.value, one.artifact) == (other.value, other.artifact)


def _length(text: Text) -> int:
    return text.size if isinstance(text, Blob) else len(text)
