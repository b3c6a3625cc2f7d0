"""Which hosts there are, and which of them an agent lives on.

Hosts tell each other on plain NATS that they are there. It only saves work that two of them would do at a time: that
nothing is done on old knowledge is the doing of epochs.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from callboard.bus.errors import BusError
from callboard.bus.log import Note, Signals
from callboard.bus.subjects import ALL_HOSTS, host
from callboard.events.agent_names import definition_of
from callboard.events.ids import shard_of

BEAT_S: Final = 0.2
GONE_S: Final = 0.8
"""Who has not been heard of for so long is gone."""

HELLO_S: Final = 0.15
"""So long a new host waits for the others to say that they are there."""


class Beat(Struct, frozen=True, omit_defaults=True):
    """That a host is there, which serves these definitions; ``asks``: so say the others; ``leaves``: no more."""

    host: str
    serves: tuple[str, ...]
    asks: bool = False
    leaves: bool = False


class Hosts:
    """All hosts, as one of them knows them. ``changed`` is called when one comes or goes."""

    def __init__(self, signals: Signals, me: str, serves: Iterable[str], changed: Callable[[], None]) -> None:
        self._signals = signals
        self._me = Beat(me, tuple(sorted(serves)))
        self._changed = changed
        self._heard: dict[str, float] = {}
        self._beats: dict[str, Beat] = {me: self._me}
        self.ready = asyncio.Event()
        """Set when the others had time to say that they are there."""

    async def run(self) -> None:
        """Tell and listen until cancelled."""
        stop = await self._signals.subscribe(ALL_HOSTS, self._hear)
        try:
            await self._say(msgspec.structs.replace(self._me, asks=True))
            await asyncio.sleep(HELLO_S)
            self.ready.set()
            self._changed()
            while True:
                await self._say(self._me)
                await asyncio.sleep(BEAT_S)
                self._forget()
        finally:
            with suppress(BusError):  # then they notice that nothing is heard of us
                await self._say(msgspec.structs.replace(self._me, leaves=True))
                await stop()

    def is_alive(self, host_id: str) -> bool:
        """Whether a host has been heard of lately."""
        return host_id in self._beats

    def is_mine(self, agent_id: str) -> bool:
        """Whether an agent lives here: of the hosts that serve it each has an equal share of the shards."""
        wanted, shard = definition_of(agent_id), shard_of(agent_id)
        serving = [beat.host for beat in self._beats.values() if wanted in beat.serves]
        return self._me.host in serving and self._me.host == max(serving, key=lambda each: _rank(each, shard))

    async def _hear(self, note: Note) -> None:
        beat = msgspec.json.decode(note.data, type=Beat)
        if beat.host == self._me.host:
            return
        known = self._beats.get(beat.host)
        if beat.leaves:
            self._beats.pop(beat.host, None)
        else:
            self._heard[beat.host] = asyncio.get_running_loop().time()
            self._beats[beat.host] = msgspec.structs.replace(beat, asks=False)
        if beat.asks:
            await self._say(self._me)
        if known != self._beats.get(beat.host):
            self._changed()

    def _forget(self) -> None:
        since = asyncio.get_running_loop().time() - GONE_S
        gone = [each for each in self._beats if each != self._me.host and self._heard[each] < since]
        for each in gone:
            del self._beats[each], self._heard[each]
        if gone:
            self._changed()

    async def _say(self, beat: Beat) -> None:
        with suppress(BusError):  # the others notice, and the log decides
            await self._signals.publish(host(self._me.host), msgspec.json.encode(beat))


@lru_cache(maxsize=10_000)
def _rank(host_id: str, shard: int) -> bytes:
    return sha256(f"{host_id}/{shard}".encode()).digest()
