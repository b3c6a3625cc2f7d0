"""NATS without JetStream, for who may neither read the log nor write to it."""

from collections.abc import Awaitable, Callable

from callboard.bus.door import OPEN, Door
from callboard.bus.log import Signals
from callboard.bus.signals import JetStreamSignals
from callboard.bus.wire import Wire
from callboard.bus.wire import connect as connect_wire


class PlainBus:
    """A connection that only publishes and listens. Made by `connect`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._signals = JetStreamSignals(wire)
        self.signals: Signals = self._signals

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` after every re-established connection."""
        self._signals.on_reconnect(callback)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._signals.aclose()
        await self._wire.aclose()


async def connect(url: str, *, name: str = "callboard", timeout_s: float = 10.0, door: Door = OPEN) -> PlainBus:
    """Connect to NATS at ``url``; arguments and errors as of `callboard.bus.wire.connect`."""
    return PlainBus(await connect_wire(url, name=name, timeout_s=timeout_s, door=door))
