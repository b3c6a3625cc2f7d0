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
from callboard.projections.load import LOAD, BackendLoad

BEAT_S: Final = 1.0
LATE_PERCENT: Final = 95
LATE_MEASURED: Final = 20
"""How many first tokens must have been timed before a call can be late."""

LATE_LEAST_NS: Final = 20_000_000


class CallBeat(Struct, frozen=True, array_like=True):
    """A call. ``quiet`` is ns since its last token, or since it began; ``begun`` says that there was one."""

    task: str
    call: int
    quiet: int
    begun: bool


class Heartbeat(Struct, frozen=True, omit_defaults=True):
    """A replica is there, with so many calls ``under_way``, of which ``calls`` are quiet for longer than usual.

    ``heard`` is ns since the last token of any call it made, None if there was none. ``leaves`` says that it is the
    last one of a replica that ends.
    """

    backend: str
    replica: str
    under_way: int = 0
    calls: tuple[CallBeat, ...] = ()
    heard: int | None = None
    leaves: bool = False


def late_after(load: BackendLoad, task_id: str) -> int | None:
    """After how many ns without a token a task's call is late; None while that is not known."""
    late = load.late_after(LATE_PERCENT, LATE_MEASURED, task_id)
    return None if late is None else max(late, LATE_LEAST_NS)


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
        late = self._late_after(task_id)
        if late is None:
            return None
        return asyncio.get_running_loop().call_later(late / 1e9, self._look, task_id, call)

    def _late_after(self, task_id: str) -> int | None:
        load = self._projector.state(LOAD).backends.get(self._backend)
        return late_after(load, task_id) if load else None

    def _look(self, task_id: str, call: int) -> None:
        if self._calls.is_late(task_id, call):
            self._late.set()

    async def _beat(self, *, leaves: bool = False) -> None:
        under_way = [CallBeat(*told) for told in self._calls.told()]
        calls = tuple(one for one in under_way if (late := self._late_after(one.task)) and one.quiet >= late)
        beat = Heartbeat(self._backend, self._replica, len(under_way), calls, self._calls.heard_ns, leaves)
        try:
            await self._bus.signals.publish(heartbeat(self._backend, self._replica), msgspec.json.encode(beat))
        except BusError:
            return  # as if it had been lost on the way
