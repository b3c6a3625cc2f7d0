"""One process beyond the gate, seen from the gate: a `Provider` whose calls are made over there.

What it says is believed where nobody else can know (the answer, and what it used, up to what a call can use at most),
and counts for calls that it was handed alone.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Final, TypeAlias

from callboard.actors.backend.providers.provider import Answer, CallLost, Delta, FailureKind, Request
from callboard.actors.discretion import is_discreet
from callboard.actors.gate.plausible import answer_of, bounds_of, error_of
from callboard.actors.gate.words import (
    MAX_ANSWER,
    RESEND_S,
    SILENT_S,
    Answered,
    ByGate,
    Here,
    Make,
    Said,
    Stop,
    Unanswered,
)

WAITING: Final = 4096
"""Pieces of an answer's text that wait to be told on; of a backend that is quicker, no more is told but the end."""

TRIES: Final = 10
"""How often a call is handed out, as long as there is no sign of it."""

TOLD_S: Final = 660.0
"""How long a worker here may take to tell the log what came of a call, before that is anybody's business."""

Post: TypeAlias = Callable[[ByGate], Coroutine[None, None, None]]


class _Box:
    """What was said of one call."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.most = bounds_of(request)
        self.words: asyncio.Queue[Said | Answered | Unanswered | None] = asyncio.Queue()
        self.make: Make | None = None
        self.tries = 0
        self.made_at = 0.0
        self.length = 0
        self.deaf = False


class Guest:
    """The process ``caller`` of a backend; ``post`` says something to it. ``holder`` knows which guest has a call."""

    def __init__(self, caller: str, post: Post, holder: Callable[[str], "Guest | None"]) -> None:
        self.caller = caller
        self.post = post
        self.slots = 0
        self.heard_at = time.monotonic()
        self.gone = False
        self.parting = False
        """Set when the gate ends: then its calls go on, for the next gate."""
        self.calls: frozenset[str] = frozenset()
        """Those that it says it has."""
        self.idle = asyncio.Event()
        """Set as long as it says that it has none, and when it is gone."""
        self._holder = holder
        self._boxes: dict[str, _Box] = {}
        self._being_told: dict[str, float] = {}

    @property
    def silent(self) -> bool:
        """Whether it has to be taken for gone."""
        return time.monotonic() - self.heard_at > SILENT_S

    def has(self, call_id: str) -> bool:
        """Whether this process, or another of the backend's here, has a call that no worker here waits for."""
        holder = self._holder(call_id)
        return holder is not None and not holder.is_ours(call_id)

    def is_ours(self, call_id: str) -> bool:
        """Whether a worker here waits for the end of a call, or is telling the log."""
        told = self._being_told.get(call_id)
        return call_id in self._boxes or (told is not None and time.monotonic() - told < TOLD_S)

    async def stream(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """Have the call made. Raises ProviderError, and CallLost if the process is gone."""
        holder = self._holder(request.call_id) or self
        parts = holder.made(request)
        try:
            async for part in parts:
                yield part
        finally:
            await parts.aclose()

    async def made(self, request: Request) -> AsyncGenerator[Delta | Answer, None]:
        """As `stream`, by this process."""
        if self.gone:
            raise CallLost(f"{self.caller} is gone")
        call, over = request.call_id, False
        box = self._boxes[call] = _Box(request)
        box.make = Make(request, is_discreet())
        await self._hand_out(box)
        try:
            while not over:
                word = await box.words.get()
                over = not isinstance(word, Said)
                match word:
                    case Said(text=text):
                        yield Delta(text)
                    case Answered(answer=answer):
                        self._being_told[call] = time.monotonic()
                        yield answer_of(answer, box.most)
                    case Unanswered():
                        self._being_told[call] = time.monotonic()
                        raise error_of(word, box.most)
                    case None:
                        raise CallLost(f"{self.caller} is gone")
        finally:
            if self._boxes.get(call) is box:
                del self._boxes[call]
            if not over and not self.parting:
                await self.post(Stop(call))

    async def aclose(self) -> None:
        """Nothing is held open."""

    def heard(self, word: Here) -> None:
        """It is there."""
        self.heard_at = time.monotonic()
        self.slots, self.calls = word.slots, frozenset(word.calls)
        if self.calls:
            self.idle.clear()
        else:
            self.idle.set()

    def told(self, word: Said | Answered | Unanswered) -> bool:
        """Something was said of a call; False if no worker here waits for that."""
        box = self._boxes.get(word.call)
        if box is None:
            return False
        if isinstance(word, Said):
            box.tries = 0
            if word.at != box.length or box.words.qsize() > WAITING or box.length > MAX_ANSWER:
                box.deaf = True  # a piece is missing: what follows would be told in a wrong place
            box.length += len(word.text)
            if box.deaf or not word.text:
                return True
        box.words.put_nowait(word)
        return True

    def settled(self, call_id: str) -> bool:
        """The log knows the end of a call; whether it was this process that made it."""
        return self._being_told.pop(call_id, None) is not None or call_id in self.calls

    def lose(self) -> None:
        """It is gone, and what became of its calls is not known."""
        self.gone = True
        self.idle.set()
        for box in self._boxes.values():
            box.words.put_nowait(None)

    async def hand_out_again(self) -> None:
        """Hand out calls anew of which there was no sign."""
        now = time.monotonic()
        for call, box in list(self._boxes.items()):
            if call not in self.calls and now - box.made_at > RESEND_S and not box.length:
                if box.tries >= TRIES:
                    box.words.put_nowait(Unanswered(call, FailureKind.TIMEOUT, "the backend does not take the call"))
                else:
                    await self._hand_out(box)

    async def _hand_out(self, box: _Box) -> None:
        assert box.make is not None
        box.tries += 1
        box.made_at = time.monotonic()
        await self.post(box.make)
