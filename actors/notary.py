"""The notary: follows the log, and signs what it holds so far, so that nothing of it can be altered unseen.

It hashes every message once, and keeps 32 bytes for each bit of the log's length. After a restart it goes on from the
peaks of the last checkpoint. Of several notaries with one key, one is first each time; the others go on from its
checkpoint, so the chain never forks.
"""

import asyncio
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callboard.bus.clock import now
from callboard.bus.errors import Conflict
from callboard.bus.log import Bus, Record
from callboard.events.checkpoint import checkpoint_hash, decode_checkpoint, encode_checkpoint, key_of, sign
from callboard.events.errors import BrokenChain
from callboard.events.merkle import Tree, leaf_hash

EVERY: Final = 10_000
"""Messages from one checkpoint to the next, at most, but for those that come while one is made."""

INTERVAL_S: Final = 300.0
"""How long a message waits for a checkpoint."""

_log = structlog.get_logger(__name__)


class Refused(BrokenChain):
    """What was signed does not fit the log, or not this key: a person has to look at it."""


class Notary:
    """The actor. It signs after ``every`` messages, ``interval_s`` after one at the latest, and when it closes."""

    def __init__(
        self, bus: Bus, private: Ed25519PrivateKey, *, every: int = EVERY, interval_s: float = INTERVAL_S
    ) -> None:
        self._bus = bus
        self._private = private
        self._every = every
        self._interval_s = interval_s
        self._tree = Tree()
        self._signed = 0
        self._previous = ""
        self._expected = 0
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._ready = False

    async def run(self) -> None:
        """Sign until cancelled. Returns, and says why, when what is signed already does not allow to go on."""
        try:
            async with self._lock:
                await self._resume()
                self._ready = True
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._tick())
        except* Refused as refused:
            self._ready = False
            _log.error("nothing is signed any more", actor="notary", error=str(refused.exceptions[0]))

    async def close(self) -> None:
        """Sign what has come until now; call it when `run` was cancelled."""
        if not self._ready:
            return
        async with self._lock:
            async for records in self._bus.log.read_all(after=self._tree.size):
                await self._take(records)
            await self._sign()

    async def _follow(self) -> None:
        async for records in self._bus.log.follow(after=self._tree.size):
            async with self._lock:
                await self._take(records)
            await asyncio.sleep(0)  # others get their turn while there is much to catch up with

    async def _tick(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(self._interval_s)
            async with self._lock:
                await self._sign()

    async def _take(self, records: list[Record]) -> None:
        tree = self._tree
        for seq, subject, data, time_ns, _ in records:
            if seq <= tree.size:
                continue  # another has signed it
            if seq > tree.size + 1:
                await self._pass_over(seq)
            tree.add(leaf_hash(seq, time_ns, subject, data))
            if tree.size - self._signed >= self._every:
                await self._sign()
                tree = self._tree
        self._news.set()

    async def _pass_over(self, seq: int) -> None:
        """What is not there before a message was split away with the shards of others, and counts by its hash."""
        away = await self._bus.log.away()
        while self._tree.size + 1 < seq:
            if (leaf := away.leaf(self._tree.size + 1)) is None:
                missing = self._tree.size + 1
                raise Refused(f"the log has no message {missing}, and goes on at {seq}: see `callboard audit`")
            self._tree.add(leaf)

    async def _sign(self) -> None:
        """Append a checkpoint, unless there is no news; when another was faster, go on from what it has signed."""
        self._news.clear()
        while self._tree.size > self._signed:
            checkpoint = sign(self._tree, self._previous, now(), self._private)
            data = encode_checkpoint(checkpoint)
            try:
                self._expected = await self._bus.checkpoints.append(checkpoint.size, data, self._expected)
            except Conflict:
                await self._resume()
            else:
                self._signed, self._previous = checkpoint.size, checkpoint_hash(data)

    async def _resume(self) -> None:
        """Begin after the newest checkpoint, or keep what is known beyond it."""
        newest = await self._bus.checkpoints.last()
        if newest is None:
            return
        checkpoint = decode_checkpoint(newest.data)
        if checkpoint.key != key_of(self._private):
            raise Refused(
                f"checkpoint {newest.seq} is by the key {checkpoint.key[:16]}…, not by this node's: "
                "give every node of this log the same key ([audit] key)"
            )
        if not (checkpoint.is_signed and checkpoint.is_whole):
            raise Refused(f"checkpoint {newest.seq} was altered: see `callboard audit`")
        if (end := await self._bus.log.end()) < checkpoint.size:
            raise Refused(f"{checkpoint.size} messages were signed, and the log has {end}: see `callboard audit`")
        if checkpoint.size > self._tree.size:
            self._tree = checkpoint.tree
        self._signed, self._expected = checkpoint.size, newest.seq
        self._previous = checkpoint_hash(newest.data)
