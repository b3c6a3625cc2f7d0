"""Commits: what is wished of an entity at a time is appended together, as one message.

Each wish is decided on its own, one after the other: one that is refused does not keep the others out. So many writers
of one process wait for one append, not each for those of all others.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from callboard.actors.turns import Turns
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.errors import Conflict, TooLarge, Unavailable

S = TypeVar("S")

PATIENCE_S: Final = 10.0
"""So long it is tried again while others elsewhere are faster."""

TOGETHER: Final = 200_000
"""Bytes of the events that are appended together, about, so that they fit a message of the log."""

ENVELOPE: Final = 600
"""Bytes that each of them is wrapped in, about."""


class _Wish(Generic[S]):
    """What one writer waits for; ``outcome`` is the state after it, or why it is refused, as last decided.

    ``speaks`` says whether any event is of it.
    """

    __slots__ = ("future", "outcome", "say", "speaks")

    def __init__(self, say: Callable[[S], Sequence[Any]]) -> None:
        self.say = say
        self.future: asyncio.Future[S] = asyncio.get_running_loop().create_future()
        self.outcome: S | Exception | None = None
        self.speaks = False


class Commits(Generic[S]):
    """The entities of one kind, as the writers of one process change them."""

    def __init__(self, entities: Entities[S], turns: Turns) -> None:
        self._entities = entities
        self._turns = turns
        self._waiting: dict[str, deque[_Wish[S]]] = {}
        self._draining: set[asyncio.Task[None]] = set()

    async def tell(self, entity_id: str, say: Callable[[S], Sequence[Any]]) -> S:
        """Append what ``say`` says of the entity's state, and return the state after it.

        Raises what the aggregate's ``decide`` and the log raise; Conflict when others were faster for `PATIENCE_S`.
        """
        return await self.soon(entity_id, say)

    def soon(self, entity_id: str, say: Callable[[S], Sequence[Any]]) -> "asyncio.Future[S]":
        """What `tell` waits for: appended after all that was wished before, together with what is wished until then."""
        wish = _Wish(say)
        if entity_id in self._waiting:
            self._waiting[entity_id].append(wish)
        else:
            self._waiting[entity_id] = deque([wish])
            task = asyncio.create_task(self._drain(entity_id))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return wish.future

    async def _drain(self, entity_id: str) -> None:
        waiting = self._waiting[entity_id]
        try:
            while waiting:
                try:
                    await self._append(entity_id, waiting)
                except Exception as error:  # all who wait are told
                    while waiting:
                        _end(waiting.popleft(), error)
        finally:
            del self._waiting[entity_id]
            for wish in waiting:
                _end(wish, Unavailable(f"{entity_id}: stopped before it was changed"))

    async def _append(self, entity_id: str, waiting: deque[_Wish[S]]) -> None:
        """Append for those in front, and tell them."""
        taken: list[_Wish[S]] = []
        loop = asyncio.get_running_loop()
        ends, lost = loop.time() + PATIENCE_S, 0
        while True:
            await self._turns.wait(entity_id, lost)
            try:
                if lost:
                    await self._entities.load(entity_id, at_least=NEWEST)
                await self._entities.tell(entity_id, lambda state: self._said(state, waiting, taken), conflicts=1)
            except Conflict:
                if loop.time() > ends:
                    raise
                lost += 1
                await self._turns.late(entity_id)
            except TooLarge as error:  # a single one: more are not taken together
                for wish in taken:
                    if wish.speaks:
                        wish.outcome = error
                break
            else:
                break
        for wish in taken:
            waiting.remove(wish)
            _end(wish, wish.outcome)

    def _size(self, state: S, events: Sequence[Any]) -> int:
        """About how many bytes these events take; those about a person are encrypted."""
        size = sum(len(msgspec.json.encode(event)) + ENVELOPE for event in events)
        return size * 3 // 2 if any(self._entities.person_of(state, event) for event in events) else size

    def _said(self, state: S, waiting: deque[_Wish[S]], taken: list[_Wish[S]]) -> list[Any]:
        """What is to be said for those in front, who are put into ``taken`` with their outcomes."""
        taken.clear()
        events: list[Any] = []
        size, addressed = 0, False
        for wish in waiting:
            if not wish.future.done():  # else whoever waited has gone
                try:
                    after, decided, _ = self._entities.decided(state, wish.say)
                except Exception as error:  # it is this writer's alone, be it a refusal or a mistake
                    wish.outcome, wish.speaks = error, False
                else:
                    size += self._size(state, decided)
                    if events and size > TOGETHER:
                        break
                    state = wish.outcome = after
                    wish.speaks = bool(decided)
                    events += decided
                    addressed = any(map(self._entities.is_addressed, decided))
            taken.append(wish)
            if addressed:
                break  # a message has one subject, so one addressee
        return events


def _end(wish: _Wish[S], outcome: S | Exception | None) -> None:
    if wish.future.done():
        return
    if isinstance(outcome, Exception):
        wish.future.set_exception(outcome)
    elif outcome is not None:
        wish.future.set_result(outcome)
