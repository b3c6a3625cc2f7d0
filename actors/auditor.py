"""The auditor: reads the log once, from the archive and the stream, and has it audited. It changes nothing."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from callboard.actors.projector import SNAPSHOT
from callboard.bus.log import Bus, Record
from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.merkle import Path, Tree, leaf_hash
from callboard.projections.audit import Audit, Head, Options, Report
from callboard.projections.cost import COST
from callboard.projections.projection import Snapshot

Examine = Callable[[Callable[[int, str], None]], Iterator[list[Record]]]
"""Reads the archive, telling of damage: see `callboard.bus.archive.examined`."""

_CHUNK: Final = 5_000


class Until(NamedTuple):
    """Where an audit ends: with this message, or before what was stored after this time (ns)."""

    seq: int | None = None
    time_ns: int | None = None

    def has(self, record: Record) -> bool:
        """Whether the record is still to be looked at."""
        if self.seq is not None and record.seq > self.seq:
            return False
        return self.time_ns is None or record.time_ns <= self.time_ns


async def audit(
    bus: Bus,
    options: Options,
    *,
    archive: Examine | None = None,
    until: Until | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Audit the log of ``bus`` with its ``archive``; ``progress`` is told how many messages were looked at."""
    until = until or Until()
    checkpoints = [(each.seq, each.data) for each in await bus.checkpoints.read()]
    snapshot = await _ledger_snapshot(bus)
    log = bus.log
    held = msgspec.structs.replace(options, shards=log.shards, split=log.split, away=await log.away())
    fold = Audit(msgspec.structs.replace(held, snapshot=snapshot), checkpoints)
    last = both = archived = 0

    def damaged(seq: int, told: str) -> None:
        fold.findings.add("archive", seq, told)

    async for records, of_archive, differing in _merged(archive(damaged) if archive else iter(()), bus.log.read_all()):
        archived, both = archived + of_archive[0], both + of_archive[1]
        for record in differing:
            told = f"message {record.seq} is not the same in the archive and in the stream"
            fold.findings.add("copies", record.seq, told, record.subject)
        for record in records:
            if not until.has(record):
                return fold.finish(archived, both, partial=True)
            last = record.seq
            fold.take(last, record.time_ns, record.subject, record.data)
        progress(last)
    return fold.finish(archived, both)


async def _merged(
    archive: Iterator[list[Record]], hot: AsyncIterator[list[Record]]
) -> AsyncIterator[tuple[list[Record], tuple[int, int], list[Record]]]:
    """All records in order; how many of them are archived, and how many of these in the stream; those that differ."""
    waiting: list[Record] = []
    ended = False
    for stored in archive:
        upto = max(record.seq for record in stored)
        while not ended and (not waiting or waiting[-1].seq <= upto):
            batch = await anext(hot, None)
            ended = batch is None
            waiting += batch or ()
        place = next((number for number, record in enumerate(waiting) if record.seq > upto), len(waiting))
        beside, waiting = {record.seq: record for record in waiting[:place]}, waiting[place:]
        differing, both = [], 0
        for record in stored:
            if (other := beside.pop(record.seq, None)) is not None:
                both += 1
                if other != record:
                    differing.append(record)
        records = sorted((*stored, *beside.values()), key=_seq) if beside else stored
        yield records, (len(stored), both), differing
    if waiting:
        yield waiting, (0, 0), []
    async for records in hot:
        yield records, (0, 0), []


def _seq(record: Record) -> int:
    return record.seq


async def _ledger_snapshot(bus: Bus) -> tuple[int, bytes] | None:
    """What is stored of the ledger, from which `callboard costs` goes on, and up to which message that is."""
    data = await bus.snapshots.load(SNAPSHOT)
    if data is None:
        return None
    try:
        part = msgspec.json.decode(data, type=dict[str, Raw])[COST.name]
        snapshot = msgspec.json.decode(part, type=Snapshot)
    except (msgspec.MsgspecError, KeyError):
        return None
    return (snapshot.seq, bytes(part)) if snapshot.version == COST.version else None


class Proof(msgspec.Struct, frozen=True):
    """That the message ``seq`` is in the log of ``size`` messages with this ``root``; hashes in hex.

    Whoever has the message and the root checks it with `root_by_inclusion` of ``callboard.events.merkle``.
    """

    seq: int
    subject: str
    time_ns: int
    leaf: str
    size: int
    root: str
    proof: tuple[str, ...]


async def prove(bus: Bus, seq: int, head: Head, *, archive: Examine | None = None) -> Proof:
    """The proof that a message is in the log as of ``head``. Raises InvalidInput when it is not there."""
    if not 0 < seq <= head.size:
        raise InvalidInput(f"there is no message {seq} in the {head.size:,} that are signed")
    path, tree, found = Path(seq - 1, head.size), Tree(), None
    away = await bus.log.away()

    def grow(leaf: bytes) -> None:
        path.add(leaf)
        tree.add(leaf)

    async for records, _, _ in _merged(archive(_raise) if archive else iter(()), bus.log.read_all()):
        for record in records:
            while tree.size + 1 < min(record.seq, head.size + 1) and (gone := away.leaf(tree.size + 1)):
                grow(gone)
            if record.seq != tree.size + 1 or tree.size == head.size:
                continue
            leaf = leaf_hash(record.seq, record.time_ns, record.subject, record.data)
            grow(leaf)
            if record.seq == seq:
                found = (record, leaf)
    while tree.size < head.size and (gone := away.leaf(tree.size + 1)):
        grow(gone)
    if found is None or tree.root.hex() != head.root:
        raise InvalidInput("the log is not what was signed: see `callboard audit`")
    record, leaf = found
    proof = tuple(each.hex() for each in path.proof)
    return Proof(seq, record.subject, record.time_ns, leaf.hex(), head.size, head.root, proof)


def _raise(_seq: int, told: str) -> None:
    raise CallboardError(told)
