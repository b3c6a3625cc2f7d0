"""Plain NATS beside the log."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from callboard.bus.credentials import inbox
from callboard.bus.errors import Forbidden
from callboard.bus.frames import block, trace_context
from callboard.bus.log import Note, Receiver, Unsubscribe
from callboard.bus.permissions import REPLIES, grant
from callboard.bus.subjects import ANSWER
from callboard.bus.wire import Wire

_MAX_UNHANDLED: Final = 65_536
_ANSWERED: Final = tuple(pattern.removesuffix(">") for pattern in REPLIES)


class JetStreamSignals:
    """Publish and subscribe over one connection; see `Signals`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        who = wire.credentials
        granted = grant(who.role, who.backend) if who else None
        self._answers = granted is not None and granted.answers
        self._inbox = f"{inbox(who.public)}." if who else ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._callbacks: list[Callable[[], Awaitable[None]]] = []
        wire.on_regained.append(self._regained)

    async def publish(self, subject: str, data: bytes, *, reply: str = "", traceparent: str = "") -> None:
        """Tell whoever listens; waits for nothing."""
        self._wire.check(subject, data)
        if self._answers and subject.startswith(_ANSWERED):
            subject = f"{ANSWER}.{subject}"
        if reply:
            self._wire.check(reply)
        headers = b""
        if traceparent:
            self._wire.check(traceparent)
            headers = block(traceparent=traceparent)
        self._wire.publish(subject, data, reply=reply, headers=headers)

    async def subscribe(self, subject: str, receive: Receiver) -> Unsubscribe:
        """Call ``receive`` for each message, one after another; returns how to stop."""
        self._wire.check(subject)
        notes: asyncio.Queue[Note] = asyncio.Queue(_MAX_UNHANDLED)

        def arrive(subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
            if not notes.full():  # else lost, as everything is that nobody listens to
                notes.put_nowait(Note(subject.decode(), data, reply.decode(), trace_context(headers)))

        async def run() -> None:
            while True:
                note = await notes.get()
                try:
                    await receive(note)
                except Exception as error:
                    _report(f"a receiver of {note.subject} failed", error)

        stop = await self._wire.subscribe(subject, arrive)
        await self._wire.flush()  # from now on nothing is missed
        try:
            self._wire.check_heard(subject)
        except Forbidden:
            stop()
            raise
        task = self._start(run())

        async def unsubscribe() -> None:
            stop()
            if task is not asyncio.current_task():
                task.cancel()
                await asyncio.wait([task])

        return unsubscribe

    def inbox(self) -> str:
        """A fresh subject for replies."""
        fresh = self._wire.inbox()
        return f"{self._inbox}{fresh.rpartition('.')[2]}" if self._inbox else fresh

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` after every re-established connection."""
        self._callbacks.append(callback)

    async def aclose(self) -> None:
        """Stop listening."""
        for task in [task for task in self._tasks if task is not asyncio.current_task()]:
            task.cancel()
            await asyncio.wait([task])

    def _regained(self) -> None:
        for callback in self._callbacks:
            self._start(_guarded(callback))

    def _start(self, running: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(running)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _guarded(callback: Callable[[], Awaitable[None]]) -> None:
    try:
        await callback()
    except Exception as error:
        _report("what should run after a reconnection failed", error)


def _report(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
