"""One task on the board, as a client uses it: wait for its answer, stream its text, cancel, judge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec

from callboard.actors.backend.call import TokenNote
from callboard.actors.outcome import Outcome
from callboard.bus.entities import NEWEST
from callboard.bus.log import Bus, Note, Unsubscribe
from callboard.bus.subjects import tokens
from callboard.events.errors import CallboardError
from callboard.events.task import Cancelled, Requeued, Source, Status, Task

if TYPE_CHECKING:
    from callboard.actors.board import Board


class TaskFailed(CallboardError):
    """The task ended without an answer; ``outcome`` says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"task {outcome.task} {outcome.status}: {outcome.reason}")
        self.outcome = outcome


class Token(str):
    """A piece of an answer. ``call`` grows when the answer begins anew, because a first try did not end."""

    __slots__ = ("call",)
    call: int

    @classmethod
    def of(cls, text: str, call: int) -> Self:
        """``text`` as part of the answer of the ``call``-th model call."""
        token = cls(text)
        token.call = call
        return token


class Ears:
    """A subscription to a task's text; ``notes`` is what was heard."""

    def __init__(self) -> None:
        self.notes: asyncio.Queue[TokenNote | None] = asyncio.Queue()
        self.close: Unsubscribe

    @classmethod
    async def open(cls, bus: Bus, task_id: str) -> Self:
        """Listen from now on."""
        ears = cls()
        ears.close = await bus.signals.subscribe(tokens(task_id), ears._hear)
        return ears

    async def _hear(self, note: Note) -> None:
        self.notes.put_nowait(msgspec.json.decode(note.data, type=TokenNote))


class TaskHandle:
    """A task on the board."""

    def __init__(
        self,
        board: "Board",
        task_id: str,
        answered: "asyncio.Future[Outcome] | None" = None,
        ears: "Ears | None" = None,
    ) -> None:
        self._board = board
        self._answered = answered
        self._ears = ears
        self.id = task_id

    async def result(self, timeout_s: float | None = None) -> Outcome:
        """Wait for the answer.

        Raises:
            TaskFailed: it ended without one.
            TimeoutError: it has not ended within ``timeout_s``; the task goes on.
        """
        async with asyncio.timeout(timeout_s):
            outcome = await self._board.ended(self.id, self._answered)
        if outcome.status is not Status.COMPLETED:
            raise TaskFailed(outcome)
        return outcome

    async def stream(self) -> AsyncIterator[Token]:
        """The answer's text as it is written. Raises TaskFailed when the task ends without an answer.

        A task that was submitted with ``stream=True`` was listened to from the start. Of any other, text that was
        written before we listened comes with the rest at the end.
        """
        ears, self._ears = self._ears or await Ears.open(self._board.bus, self.id), None
        notes = ears.notes
        ending = asyncio.create_task(self.result())
        ending.add_done_callback(lambda _: notes.put_nowait(None))
        call, written = 0, ""
        try:
            while (note := await notes.get()) is not None:
                if note.call > call:
                    call, written = note.call, ""
                if note.call == call and note.at == len(written):
                    written += note.text
                    yield Token.of(note.text, call)
            output = str((await ending).output or "")
            if output != written:
                rest = output.removeprefix(written)
                yield Token.of(rest, call if len(rest) < len(output) or not written else call + 1)
        finally:
            ending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await ending
            await ears.close()

    async def state(self) -> Task:
        """The task as the log has it now."""
        return (await self._board.tasks.load(self.id, at_least=NEWEST)).state

    async def cancel(self, reason: str = "cancelled by the client") -> Outcome:
        """End the task unless it has ended; a model call under way is stopped. Returns how it ended."""
        return await self._board.end(self.id, Cancelled(reason))

    async def evaluate(self, score: float, *, source: Source = "user", note: str = "") -> None:
        """Say how good the answer is, from 0 (worthless) to 1 (could not be better); again to change your mind.

        Raises:
            InvalidInput: the score is out of bounds.
            IllegalTransition: there is no answer.
        """
        await self._board.evaluate(self.id, score, source, note)

    async def requeue(self) -> None:
        """Try a dead-lettered task again from the beginning."""
        await self._board.end(self.id, Requeued())
