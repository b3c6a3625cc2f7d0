"""Random writers against a model that knows only each entity's last sequence."""

import asyncio
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard.bus.errors import Conflict
from callboard.bus.log import Write

RUNS = count()
quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Belief(NamedTuple):
    """Which entity is written, and what its writer believes its last sequence to be."""

    entity: int
    expects: str


beliefs = st.builds(
    Belief, st.integers(0, 3), st.sampled_from(["last", "last", "last", "before", "none", "after", "end"])
)
steps = st.lists(
    st.one_of(
        beliefs.map(lambda one: [one]), st.lists(beliefs, min_size=1, max_size=4, unique_by=lambda one: one.entity)
    ),
    max_size=25,
)


class Model:
    """The log as a list of entities' names."""

    def __init__(self, end: int) -> None:
        self.start = end
        self.stored: list[str] = []

    def sequences(self, entity: str) -> list[int]:
        return [self.start + place for place, name in enumerate(self.stored, 1) if name == entity]

    def expected(self, entity: str, expects: str) -> int:
        seqs = self.sequences(entity)
        return {
            "last": seqs[-1] if seqs else 0,
            "before": seqs[-2] if len(seqs) > 1 else 0,
            "none": 0,
            "after": (seqs[-1] if seqs else 0) + 1,
            "end": self.start + len(self.stored),
        }[expects]

    def append(self, writes: list[tuple[str, int]]) -> list[int] | None:
        if any(expected != self.expected(entity, "last") for entity, expected in writes):
            return None
        self.stored += [entity for entity, _ in writes]
        end = self.start + len(self.stored)
        return list(range(end - len(writes) + 1, end + 1))


@given(steps=steps)
@quick
async def test_any_sequence_of_writes(bus, steps):
    """Single writes and batches with right and wrong expectations have the model's outcome, each and in sum."""
    run, start = next(RUNS), await bus.log.end()
    model = Model(start)
    for batch in steps:
        names = [f"evt.3.task.r{run}e{belief.entity}" for belief in batch]
        wanted = [model.expected(name, belief.expects) for name, belief in zip(names, batch, strict=True)]
        writes = [Write(f"{name}.touched", b"%d" % seq, seq) for name, seq in zip(names, wanted, strict=True)]
        try:
            outcome = await bus.log.append_batch(writes) if len(writes) > 1 else [await bus.log.append(writes[0])]
        except Conflict:
            outcome = None
        assert outcome == model.append(list(zip(names, wanted, strict=True)))
    assert await bus.log.end() == start + len(model.stored)
    stored = [record.subject async for records in bus.log.read_all(after=start) for record in records]
    assert stored == [f"{name}.touched" for name in model.stored]
    for name in {*model.stored}:
        assert [record.seq for record in await bus.log.read(name)] == model.sequences(name)


@pytest.fixture
async def pair(connect):
    """Two connections to one log."""
    return await connect(), await connect()


@given(writers=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=2, max_size=6))
@quick
async def test_any_interleaving_of_writers(pair, writers):
    """However writers interleave that read, append and try again, each write is stored once, on the one before it."""
    run, start = next(RUNS), await pair[0].log.end()

    async def work(name: int, entities: list[int]) -> None:
        log = pair[name % 2].log
        for number, entity in enumerate(entities):
            prefix = f"evt.3.task.r{run}e{entity}"
            while True:
                seen = [record.seq for record in await log.read(prefix)]
                last = seen[-1] if seen else 0
                try:
                    await log.append(Write(f"{prefix}.touched", b"%d.%d after %d" % (name, number, last), last))
                except Conflict:
                    continue
                break

    async with asyncio.timeout(20):
        await asyncio.gather(*(work(name, entities) for name, entities in enumerate(writers)))
    records = [record async for records in pair[0].log.read_all(after=start) for record in records]
    assert [record.seq for record in records] == list(range(start + 1, start + 1 + sum(map(len, writers))))
    last: dict[str, int] = {}
    for record in records:
        assert int(record.data.split()[-1]) == last.get(record.subject, 0)
        last[record.subject] = record.seq
    made = {record.data.split()[0].decode() for record in records}
    assert made == {f"{name}.{number}" for name, entities in enumerate(writers) for number in range(len(entities))}
