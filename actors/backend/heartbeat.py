"""What a replica tells on plain NATS of its calls: every second, and at once when one is late.

Nothing depends on a heartbeat but speed: a wedged backend is noticed sooner than by its time limit, and a call that is
late can be hedged.
"""

import asyncio
from typing import Final

import msgspec
from msgspec import Struct

from callboard.actors.backend.calls_under_way import CallsUnderWay
from callboard.actors.projector import Projector
from callboard.bus.errors import BusError
from callboard.bus.log import Bus
from callboard.bus.subjects import heartbeat
from callboard.projections.load import LOAD

BEAT_S: Final = 1.0
LATE_PERCENT: Final = 95
LATE_MEASURED: Final = 20
"""How many first tokens must have been timed before a call can be late."""

LATE_LEAST_NS: Final = 20_000_000


class CallBeat(Struct, frozen=True, array_like=True):
    """A call under way. ``quiet`` is ns since its last token, or since it began; ``begun`` says that there was one."""

    task: str
    call: int
    quiet: int
    begun: bool


class Heartbeat(Struct, frozen=True, omit_defaults=True):
    """One replica's calls under way; ``heard`` is ns since the last token of any call it made, None if there was none.

    ``leaves`` says that it is the last one of a replica that ends.
    """

    backend: str
    replica: str
    calls: tuple[CallBeat, ...] = ()
    heard: int | None = None
    leaves: bool = False


class Heart:
    """Sends a replica's heartbeats."""

    def __init__(self, bus: Bus, backend: str, source: str, calls: CallsUnderWay, projector: Projector) -> None:
        self._bus = bus
        self._backend = backend
        self._replica = source.rpartition("/")[2]
        self._calls = calls
        self._projector = projector
        self._late = asyncio.Event()

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                try:
                    async with asyncio.timeout_at(due):
                        await self._late.wait()
                except TimeoutError:
                    due = loop.time() + BEAT_S
                self._late.clear()
                await self._beat()
        finally:
            await self._beat(leaves=True)

    def expect(self, task_id: str, call: int) -> asyncio.TimerHandle | None:
        """Beat at once if the call has no first token when 95 % of the backend's calls had theirs."""
        load = self._projector.state(LOAD).backends.get(self._backend)
        late = load.late_after(LATE_PERCENT, LATE_MEASURED) if load else None
        if late is None:
            return None
        delay_s = max(late, LATE_LEAST_NS) / 1e9
        return asyncio.get_running_loop().call_later(delay_s, self._look, task_id, call)

    def _look(self, task_id: str, call: int) -> None:
        if self._calls.is_late(task_id, call):
            self._late.set()

    async def _beat(self, *, leaves: bool = False) -> None:
        calls = tuple(CallBeat(*told) for told in self._calls.told())
        beat = Heartbeat(self._backend, self._replica, calls, self._calls.heard_ns, leaves)
        try:
            await self._bus.signals.publish(heartbeat(self._backend, self._replica), msgspec.json.encode(beat))
        except BusError:
            return  # as if it had been lost on the way
