"""Shared contexts: reading, changing, forking and merging them. The rules are in `callboard.events.context`."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from callboard.actors.claim_check import INLINE, put_aside, text_aside
from callboard.actors.commits import Commits
from callboard.actors.strict_json import checked
from callboard.actors.turns import Turns
from callboard.bus.clock import new_entity_id
from callboard.bus.entities import CONTEXT, NEWEST, Entities
from callboard.bus.errors import Conflict
from callboard.bus.log import Bus
from callboard.events.context import (
    Changed,
    Compacted,
    Context,
    ContextEvent,
    Forked,
    Merged,
    Operation,
    Put,
    Say,
    check_whole,
    decide,
)
from callboard.events.context_content import Content, content_of, first_part, plan, size_of, tokens_of
from callboard.events.context_events import Prefer
from callboard.events.errors import Clash, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.task_spec import Blob

VALUE: Final = "application/vnd.callboard.value+json"
"""What the bytes of a value are that is too large for an event."""

KEPT: Final = 256
"""Contexts as they were at some version that are held in memory."""

LONGEST_KEY: Final = 256
MOST: Final = 200_000
"""Bytes of one change, so that it fits a message of the log."""

PART: Final = 128 * 1024
"""A merge of more bytes is taken over in parts: a message of the log has its limit."""

MERGES: Final = 20
"""How often a merge is planned anew because ours changed meanwhile."""


def contexts_on(bus: Bus, source: str) -> "Contexts":
    """All contexts as ``source`` sees and changes them, with a memory of their own."""
    return Contexts(bus, Entities(bus.log, CONTEXT, source, privacy=bus.privacy))


class Contexts:
    """All contexts, as one client sees and changes them."""

    def __init__(self, bus: Bus, entities: Entities[Context]) -> None:
        self.bus = bus
        self._entities = entities
        self._commits = Commits(entities, Turns(bus.signals, "context"))
        self._past: OrderedDict[tuple[str, int], Context] = OrderedDict()

    async def state(self, context_id: str, at: int | None = None) -> Context:
        """A context's own part, now or as it was at a version.

        Raises:
            InvalidInput: there is none, or it has no such version.
        """
        if at is not None and at > 0 and (past := await self._as_it_was(checked_id(context_id, "context"), at)):
            return past
        newest = (await self._entities.load(checked_id(context_id, "context"), at_least=NEWEST)).state
        if not newest.version:
            raise InvalidInput(f"no context {context_id!r}: `callboard context list` shows those that there are")
        if at is not None:
            raise InvalidInput(f"context {context_id} has no version {at}: use 1 to {newest.version}")
        return newest

    async def content(self, context_id: str, at: int | None = None) -> Content:
        """All that a context holds, now or as it was at a version; errors as in `state`."""
        return content_of(await self._line(context_id, at))

    async def all(self) -> list[Context]:
        """The own parts of all that there are, by id."""
        return sorted((loaded.state for loaded in await self._entities.all()), key=lambda context: context.id)

    async def change(
        self,
        context_id: str,
        *operations: Operation,
        base: int | None = None,
        by: str = "",
        cause: str = "",
        private: str = "",
    ) -> int:
        """Change a context, and return its version after that; one that there is not begins with this.

        Large values go to the blob store. Whatever others say or change meanwhile, nothing gets lost.

        Args:
            context_id: which one.
            operations: what is said, put and dropped, all or nothing.
            base: the version that this was decided on; None: whatever is there now.
            by: who changes it.
            cause: a name for this change; the same again does nothing.
            private: the person that it is about. All of a context is about the same person, from its first change on.

        Raises:
            Clash: another changed the same keys since ``base``.
            InvalidInput: an id or a base that can't be, or the context is about another person, or about nobody.
            BusError: the log can't be reached, or is full.
        """
        if private:
            await self.bus.privacy.keyring.welcome(private)
        person = private or (await self._entities.load(checked_id(context_id, "context"))).state.private
        known, aside = await self._prepared(context_id, operations, person)

        def wish(context: Context) -> list[Changed]:
            if (
                context.private not in {"", person} and aside != known
            ):  # what lies aside is not as the context is by now
                raise InvalidInput(f"context {context_id} is about {context.private} since just now: change it again")
            return [Changed(context.version if base is None else base, aside, by, cause, private)]

        return (await self._commits.tell(checked_id(context_id, "context"), wish)).version

    async def would_change(self, context_id: str, at: int, *operations: Operation) -> tuple[Operation, ...]:
        """What a change would have been at a version, of which 0 is before the first; nothing is changed.

        Raises InvalidInput for what can't be, or when there is no such version.
        """
        state = await self.state(context_id, at) if at else Context(context_id)
        _, aside = await self._prepared(context_id, operations, state.private)
        decided = decide(state, Changed(at, aside))
        return tuple(each for event in decided if isinstance(event, Changed) for each in event.operations)

    async def artifact(self, context_id: str, data: bytes, media: str, private: str = "") -> Blob:
        """Bytes in the blob store, for a context to know as an artifact; errors as in `change`."""
        if private:
            await self.bus.privacy.keyring.welcome(private)
        person = private or (await self._entities.load(checked_id(context_id, "context"))).state.private
        return await put_aside(self.bus, data, media, person)

    async def fork(
        self, context_id: str, fork_id: str | None = None, at: int | None = None, *, private: str = ""
    ) -> str:
        """Begin a context as another is, or was at a version, and return its id. Nothing is copied.

        What is said in the fork is about the person that the context is about, or about ``private`` if that is about
        nobody.

        Raises:
            InvalidInput: there is no such context or version, or it is about another person.
            IllegalTransition: the fork's id is taken.
        """
        parent = await self.state(context_id, at)
        if private and parent.private not in {"", private}:
            raise InvalidInput(f"context {context_id} is about {parent.private}: a fork of it can't be about {private}")
        if private:
            await self.bus.privacy.keyring.welcome(private)
        new = checked_id(fork_id, "context") if fork_id else new_entity_id(context_id)
        forked = Forked(context_id, parent.version, parent.messages, parent.private or private)
        await self._commits.tell(new, _saying(forked))
        return new

    async def merge(self, context_id: str, source: str, *, prefer: Prefer | None = None, by: str = "") -> Merged | None:
        """Take over into a context what a fork of it, or what it was forked from, has learned since it last did.

        Messages come to the end. Compactions stay where they are.

        Args:
            context_id: the context that changes.
            source: the other one.
            prefer: whose value is kept where both have changed a key; None: that is an error.
            by: who merges.

        Returns:
            What was appended, with the disagreements there were; None when there is nothing new.

        Raises:
            Clash: both have changed a key, and none is preferred.
            InvalidInput: neither was forked from the other, or the source is about a person that the context is not
                about.
        """
        lost = parts = 0
        while lost < MERGES:
            our_line, their_line = await self._line(context_id), await self._line(source)
            ours, theirs = content_of(our_line), content_of(their_line)
            if theirs.private not in {"", ours.private}:
                raise InvalidInput(
                    f"context {source} is about {theirs.private}, and {context_id} is not: that stays there"
                )
            since, seen = _known(our_line[-1], their_line[-1]), _known(their_line[-1], our_line[-1])
            before, then = await self.content(source, since), await self.content(context_id, seen)
            planned = plan(ours, theirs, before, then, prefer)
            if planned.disagreements and prefer is None:
                keys = tuple(each.key for each in planned.disagreements)
                raise Clash(
                    f"context {context_id} and {source} have both changed {', '.join(keys[:5])}: "
                    "say whose is kept (ours or theirs)",
                    keys,
                )
            if not (planned.operations or planned.disagreements or parts):
                return None
            wish: Changed | Merged = Merged(source, theirs.version, since, ours.version, *planned, prefer, by)
            if part := first_part(planned, PART):
                wish = Changed(ours.version, part, by)  # the rest is planned on this, which is known then
            try:
                await self._commits.tell(context_id, _saying(wish))
            except Clash:
                lost += 1  # ours has changed since it was read
                continue
            if isinstance(wish, Merged):
                return wish
            parts += 1
        raise Conflict(f"context {context_id} changed {MERGES} times while {source} was merged into it: try again")

    async def compact(self, context_id: str, first: int, last: int, summary: str, *, by: str = "") -> Compacted:
        """Show the messages from ``first`` to ``last`` as a summary from now on; they stay readable.

        Raises:
            InvalidInput: there are no such messages, or they cut a tool call from its answer, or an earlier summary.
        """
        content = await self.content(context_id)
        messages = content.messages[first : last + 1]
        if 0 <= first <= last:
            check_whole(context_id, first, last, messages)
        text, tokens = await text_aside(self.bus, summary, content.private), sum(map(tokens_of, messages))
        compacted = Compacted(first, last, text, tokens, by)
        await self._commits.tell(context_id, _saying(compacted))
        return compacted

    async def _prepared(
        self, context_id: str, operations: Sequence[Operation], person: str
    ) -> tuple[tuple[Operation, ...], tuple[Operation, ...]]:
        """The operations, checked, and as the log has them: with what is large in the blob store."""
        for operation in operations:
            if not isinstance(operation, Say) and not 0 < len(operation.key) <= LONGEST_KEY:
                raise InvalidInput(f"a key has 1 to {LONGEST_KEY} characters, got {operation.key[:80]!r}")
        known = checked(tuple(operations), tuple[Operation, ...], f"the change of context {context_id}")
        aside = tuple([await self._aside(operation, person) for operation in known])
        most = MOST * 2 // 3 if person else MOST  # encrypted, it is larger
        if (size := sum(map(size_of, aside))) > most:
            raise InvalidInput(
                f"the change of context {context_id} has {size:,} bytes: make it several, of up to {most:,}"
            )
        return known, aside

    async def _line(self, context_id: str, at: int | None = None) -> list[Context]:
        """The context with what it was forked from, and so on, the first of all in front."""
        line = [await self.state(context_id, at)]
        while line[0].parent:
            line.insert(0, await self.state(line[0].parent, line[0].at))
        return line

    async def _as_it_was(self, context_id: str, at: int) -> Context | None:
        """The state at a version; None when it has no such version yet."""
        known = self._past.get((context_id, at))
        if known is None:
            known = await self._entities.as_of(context_id, at)
            if known.version != at:
                return None
            if known.private:
                return known  # not held: it may be forgotten
            self._past[context_id, at] = known
            if len(self._past) > KEPT:
                self._past.popitem(last=False)
        return known

    async def _aside(self, operation: Operation, private: str) -> Operation:
        match operation:
            case Say(content=str(content)):
                return msgspec.structs.replace(operation, content=await text_aside(self.bus, content, private))
            case Put(artifact=None):
                data = msgspec.json.encode(operation.value)
                if len(data) > INLINE:
                    return Put(operation.key, artifact=await put_aside(self.bus, data, VALUE, private))
        return operation


def _saying(event: ContextEvent) -> Callable[[Context], list[ContextEvent]]:
    return lambda _: [event]


def _known(one: Context, other: Context) -> int:
    """The version of ``other`` up to which all of it is in ``one``. Raises InvalidInput for strangers."""
    if one.id == other.id:
        raise InvalidInput(f"context {one.id} can't be merged into itself: name a fork of it")
    if merged := one.merged.get(other.id):
        return merged
    if other.parent == one.id:
        return 1
    if one.parent == other.id:
        return one.at
    raise InvalidInput(
        f"context {one.id} and {other.id} can't be merged: neither was forked from the other; "
        "merge each into what both were forked from"
    )
