"""Plain NATS in memory: publish, and subscribe with wildcards."""

import asyncio
import secrets
from collections.abc import Callable

from callboard.bus.errors import Unavailable
from callboard.bus.filters import Filter
from callboard.bus.log import Note, Receiver, Unsubscribe


class Exchange:
    """Who listens to what, over all connections."""

    def __init__(self) -> None:
        self.listeners: dict[object, tuple[Filter, Callable[[Note], None]]] = {}

    def publish(self, note: Note) -> None:
        """Hand ``note`` to everyone who listens now."""
        for wanted, receive in list(self.listeners.values()):
            if note.subject in wanted:
                receive(note)


class MemorySignals:
    """One connection's view of the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._subscriptions: set[_Subscription] = set()
        self._closed = False

    async def publish(self, subject: str, data: bytes, *, reply: str = "", traceparent: str = "") -> None:
        """Tell whoever listens; waits for nothing."""
        self._check_open()
        self._exchange.publish(Note(subject, data, reply, traceparent))

    async def subscribe(self, subject: str, receive: Receiver) -> Unsubscribe:
        """Call ``receive`` for each message, one after another; returns how to stop."""
        self._check_open()
        subscription = _Subscription(receive)
        self._subscriptions.add(subscription)
        self._exchange.listeners[subscription] = (Filter([subject]), subscription.notes.put_nowait)

        async def unsubscribe() -> None:
            self._exchange.listeners.pop(subscription, None)
            self._subscriptions.discard(subscription)
            await subscription.stop()

        return unsubscribe

    def inbox(self) -> str:
        """A fresh subject for replies."""
        return f"_INBOX.{secrets.token_hex(11)}"

    async def aclose(self) -> None:
        """Stop listening."""
        self._closed = True
        for subscription in list(self._subscriptions):
            self._exchange.listeners.pop(subscription, None)
            await subscription.stop()
        self._subscriptions.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed: nothing was sent")


class _Subscription:
    def __init__(self, receive: Receiver) -> None:
        self.notes: asyncio.Queue[Note] = asyncio.Queue()
        self._receive = receive
        self._open = True
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._open:
            note = await self.notes.get()
            try:
                await self._receive(note)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"a receiver of {note.subject} failed", "exception": error}
                )

    async def stop(self) -> None:
        self._open = False
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])
