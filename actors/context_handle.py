"""One context on the board, as a client uses it."""

from typing import Any

import msgspec

from callboard.actors.claim_check import fetched
from callboard.actors.contexts import VALUE, Contexts
from callboard.events.chat import Role, ToolCall
from callboard.events.context import Compacted, Drop, Merged, Operation, Put, Say
from callboard.events.context_content import Content
from callboard.events.context_events import Prefer


class ContextHandle:
    """One context on the board. Its changes are about the person ``private``, if that is not empty."""

    def __init__(self, contexts: Contexts, context_id: str, private: str = "") -> None:
        self._contexts = contexts
        self._private = private
        self.id = context_id

    async def say(
        self,
        content: str,
        *,
        role: Role = "user",
        tool_calls: tuple[ToolCall, ...] = (),
        tool_call_id: str | None = None,
        by: str = "",
        cause: str = "",
    ) -> int:
        """Add a message to the conversation; returns the version after it. Others may say something meanwhile."""
        said = Say(role, content, tool_calls, tool_call_id)
        return await self.change(said, by=by, cause=cause)

    async def put(self, key: str, value: Any, *, base: int | None = None, by: str = "", cause: str = "") -> int:
        """Let ``key`` be known to be ``value``, as JSON; returns the version after it.

        Raises Clash when another has changed the key since the version ``base`` that this was decided on.
        """
        return await self.change(Put(key, value), base=base, by=by, cause=cause)

    async def drop(self, key: str, *, base: int | None = None, by: str = "", cause: str = "") -> int:
        """Forget a key; see `put`."""
        return await self.change(Drop(key), base=base, by=by, cause=cause)

    async def attach(
        self, key: str, data: bytes, media: str = "application/octet-stream", *, base: int | None = None, by: str = ""
    ) -> int:
        """Put an artifact: bytes in the blob store, which the context knows by their hash; see `put`."""
        artifact = await self._contexts.artifact(self.id, data, media, self._private)
        return await self.change(Put(key, artifact=artifact), base=base, by=by)

    async def value(self, key: str) -> Any:
        """What is known under a key: the value, or an artifact's bytes.

        Raises KeyError when nothing is, Forgotten when whom it is about has been forgotten.
        """
        fact = (await self.read()).facts[key]
        if fact.artifact is None:
            return fact.value
        data = await fetched(self._contexts.bus, fact.artifact)
        return msgspec.json.decode(data) if fact.artifact.media == VALUE else data

    async def change(self, *operations: Operation, base: int | None = None, by: str = "", cause: str = "") -> int:
        """Several changes at once, all or nothing; see `Contexts.change`."""
        return await self._contexts.change(self.id, *operations, base=base, by=by, cause=cause, private=self._private)

    async def read(self, at: int | None = None) -> Content:
        """All that it holds, now or as it was at a version. Raises InvalidInput when there is no such."""
        return await self._contexts.content(self.id, at)

    async def fork(self, fork_id: str | None = None, *, at: int | None = None) -> "ContextHandle":
        """A context that begins as this is, or was at a version; see `Contexts.fork`."""
        fork = await self._contexts.fork(self.id, fork_id, at, private=self._private)
        return ContextHandle(self._contexts, fork, self._private)

    async def merge(
        self, source: "ContextHandle | str", *, prefer: Prefer | None = None, by: str = ""
    ) -> Merged | None:
        """Take over what a fork has learned, or what this was forked from; see `Contexts.merge`."""
        source_id = source if isinstance(source, str) else source.id
        return await self._contexts.merge(self.id, source_id, prefer=prefer, by=by)

    async def compact(self, first: int, last: int, summary: str, *, by: str = "") -> Compacted:
        """Show messages as their summary; see `Contexts.compact`."""
        return await self._contexts.compact(self.id, first, last, summary, by=by)
