"""Taking turns on an entity that many processes change at a time.

Whoever was the last to append knows its state, and is the first to append again: all others read on and come too late,
for as long as it goes on. So who comes too late says so on plain NATS, and for a moment whoever wants to append pauses
first, by lot: the less, the more often it came too late. Of those who try at a time one always succeeds, so nothing is
gained by backing off further. It is courtesy alone: that nothing gets lost is the log's doing.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Final

from callboard.bus.errors import BusError
from callboard.bus.log import Note, Signals, Unsubscribe
from callboard.bus.subjects import wanted

HEARD_S: Final = 0.1
"""So long after somebody came too late others are thought to want the entity still."""

PAUSE_S: Final = 0.15
"""The longest pause before a first try; half as long after each that came too late."""

KEPT: Final = 1000


class Turns:
    """Turns on the entities of one kind, as one process takes them."""

    def __init__(self, signals: Signals, kind: str) -> None:
        self._signals = signals
        self._kind = kind
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._listening: asyncio.Future[Unsubscribe] | None = None

    async def wait(self, entity_id: str, lost: int) -> None:
        """Before a try, of which ``lost`` came too late so far: let others go first who want it too."""
        await self._listen()
        if lost or _now() - self._heard.get(entity_id, -HEARD_S) < HEARD_S:
            await asyncio.sleep(random.uniform(0, PAUSE_S / 2**lost))

    async def late(self, entity_id: str) -> None:
        """We came too late: say that we want it."""
        await self._signals.publish(wanted(self._kind, entity_id), b"")

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = asyncio.ensure_future(self._signals.subscribe(wanted(self._kind, "*"), self._hear))
        try:
            await asyncio.shield(self._listening)
        except BusError:  # it goes without, and whoever appends is told
            self._listening = None

    async def _hear(self, note: Note) -> None:
        self._heard[note.subject.rpartition(".")[2]] = _now()
        if len(self._heard) > KEPT:
            self._heard.popitem(last=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
