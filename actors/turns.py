"""Taking turns on an entity that many change at a time.

Whoever was the last to append knows its state, and is the first to append again: all others read on and come too late,
for as long as it goes on. So who comes too late says so on plain NATS, and who has had its turn then lets the others go
first. It is courtesy alone: that nothing gets lost is the log's doing.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Any, Final

from callboard.bus.errors import BusError
from callboard.bus.log import Note, Signals, Unsubscribe
from callboard.bus.subjects import wanted

HEARD_S: Final = 0.1
"""So long after somebody wanted an entity others are thought to want it still."""

PAUSE_S: Final = 0.04
"""The longest pause of one that has had its turn; the time it takes some twenty others to have theirs."""

SLOT_S: Final = 0.002
"""About how long a try takes. The longest pause after one that came too late doubles with each (as in Ethernet)."""

KEPT: Final = 1000


class Turns:
    """Turns on the entities of one kind, as one writer takes them."""

    def __init__(self, signals: Signals, kind: str) -> None:
        self._signals = signals
        self._kind = kind
        self._had: OrderedDict[str, None] = OrderedDict()
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._listening: asyncio.Future[Unsubscribe] | None = None

    async def wait(self, entity_id: str, lost: int) -> None:
        """Before a try: let others go first who want it too, if the last turn was ours; or if we ``lost`` often."""
        await self._listen()
        if entity_id in self._had and _now() - self._heard.get(entity_id, -HEARD_S) < HEARD_S:
            del self._had[entity_id]
            await asyncio.sleep(random.uniform(0, PAUSE_S))
        elif lost:
            await asyncio.sleep(random.uniform(0, min(SLOT_S * 2**lost, PAUSE_S)))

    def done(self, entity_id: str) -> None:
        """We have had our turn."""
        self._had[entity_id] = None
        _forget(self._had)

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
        _forget(self._heard)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _forget(known: OrderedDict[str, Any]) -> None:
    if len(known) > KEPT:
        known.popitem(last=False)
