"""What goes on on a bus while its servers come and go: writers, followers, takers, timers, and the books about it."""

import asyncio
import random
import time
from collections import Counter

from callboard.bus.errors import BusError, Conflict, Unavailable
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.log import Record, Write

ENTITIES = [f"evt.{number}.task.{number:02x}-shared" for number in range(6)]


class Writer:
    """Appends to entities that others write to as well, each time after what it takes to be the last message."""

    def __init__(self, name: str, bus: JetStreamBus, *, batches: bool) -> None:
        self.name = name
        self.acknowledged: dict[str, int] = {}
        """What was acknowledged, at which sequence."""
        self.unknown: list[BusError] = []
        self.stale: list[str] = []
        self.longest_s = 0.0
        self._bus = bus
        self._batches = batches
        self._random = random.Random(name)

    async def run(self, over: asyncio.Event) -> None:
        """Write until ``over``."""
        number = 0
        while not over.is_set():
            number += 1
            started = time.perf_counter()
            chosen = self._random.sample(ENTITIES, 3 if self._batches else 1)
            await self._append(chosen, number)
            self.longest_s = max(self.longest_s, time.perf_counter() - started)
            await asyncio.sleep(0.01)

    async def _append(self, entities: list[str], number: int) -> None:
        while True:
            try:
                lasts = [await self._bus.log.last(entity) for entity in entities]
            except Unavailable:
                continue
            expected = [last.seq if last else 0 for last in lasts]
            texts = [f"{self.name} {number} {entity} {seq}" for entity, seq in zip(entities, expected, strict=True)]
            writes = [
                Write(f"{entity}.progressed", text.encode(), seq)
                for entity, text, seq in zip(entities, texts, expected, strict=True)
            ]
            try:
                seqs = (
                    await self._bus.log.append_batch(writes) if self._batches else [await self._bus.log.append(*writes)]
                )
            except Conflict:
                continue
            except BusError as error:
                self.unknown.append(error)
                return
            self.acknowledged.update(zip(texts, seqs, strict=True))
            try:
                read = await self._bus.log.read(entities[0], after=expected[0])
            except Unavailable:
                return
            if texts[0].encode() not in [record.data for record in read]:
                self.stale.append(texts[0])
            return


class Taker:
    """Takes from a queue and acknowledges everything."""

    def __init__(self) -> None:
        self.taken: Counter[bytes] = Counter()

    async def run(self, queue) -> None:
        """Take until the queue is closed."""
        async for delivery in queue.deliveries():
            self.taken[delivery.record.data] += 1
            await delivery.ack()


class Reader:
    """Follows the log from its start."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def run(self, bus: JetStreamBus) -> None:
        """Follow until the bus is closed."""
        async for records in bus.log.follow():
            self.records += records


def check_log(records: list[Record], writers: list[Writer]) -> None:
    """Every append that was acknowledged is there once and in its place, and no entity's chain has a hole or a fork."""
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    at = {record.data.decode(): record.seq for record in records}
    assert len(at) == len(records), "something is there twice"
    for writer in writers:
        assert {text: at.get(text) for text in writer.acknowledged} == writer.acknowledged
    last: dict[str, int] = {}
    for record in records:
        _, _, entity, after = record.data.decode().split()
        assert last.get(entity, 0) == int(after), f"{record.seq} does not follow on what was there"
        last[entity] = record.seq
