"""Taking the shards of others out of all streams. Whatever of it is done twice changes nothing the second time."""

from collections.abc import Callable

from callboard.bus import cell, purging, streams
from callboard.bus.api import Api
from callboard.bus.cell import Begun, Cell
from callboard.bus.log import Blobs, HotLog
from callboard.bus.report import report
from callboard.bus.stream_names import EVENTS, SNAPSHOTS, SUBMISSIONS, TIMERS
from callboard.bus.subjects import TAKERS, parse
from callboard.events.away import Away
from callboard.events.errors import InvalidInput
from callboard.events.merkle import leaf_hash
from callboard.events.shards import SPREAD, Shards


async def busy(api: Api) -> list[str]:
    """The queues that somebody waits for: a node works on this log."""
    found = await report(api)
    return [queue.name for stream in found.streams for queue in stream.consumers if queue.waiting]


def check(found: Cell, keep: Shards) -> None:
    """Raise InvalidInput when the log does not hold ``keep``, or a split into others was begun."""
    if found.begun and found.shards != keep:
        raise InvalidInput(f"--keep {keep}: a split was begun that keeps {found.shards}: finish that one first")
    if others := Shards(set(keep) - set(found.shards)):
        raise InvalidInput(f"--keep {keep}: this log holds {found.shards}, and not {others}")


async def begin(api: Api, log: HotLog, keep: Shards) -> Cell:
    """From now on the log holds ``keep`` alone; what it has of others is still to be taken away, unless that was all.

    Raises as `check`.
    """
    found = await cell.read(api)
    check(found, keep)
    if not found.begun and keep != found.shards:
        found = Cell(keep, found.splits, Begun(found.shards, await log.end(), len(found.splits)))
        await cell.write(api, found)
    return found


async def note(api: Api, log: HotLog, blobs: Blobs, begun: Cell) -> Cell:
    """Keep of each message that will be taken away its sequence and hash. Nothing was taken away yet."""
    end = await log.end()
    taken: list[tuple[int, bytes]] = []
    async for records in log.read_all(upto=end):
        for seq, subject, data, time_ns, _ in records:
            address = parse(subject)
            if not begun.shards.holds(address.kind, address.id):
                taken.append((seq, leaf_hash(seq, time_ns, subject, data)))
    digest = await blobs.put(Away(taken).dump())
    noted = begun._replace(splits=(*begun.splits, (end, digest)))
    await cell.write(api, noted)
    return noted


async def drop(api: Api, log: HotLog, noted: Cell) -> None:
    """Take the messages of other shards away, and all snapshots and timers."""
    there: set[str] = set()
    async for records in log.read_all(upto=noted.split):
        there |= {record.subject.rsplit(".", record.subject.count(".") - 2)[0] for record in records}
    for prefix in sorted(there):
        _, shard, kind = prefix.split(".")
        if kind in SPREAD and int(shard) not in noted.shards:
            await purging.purge(api, EVENTS, f"{prefix}.>", noted.split)  # each takes as long as the log is
    for stream in (SNAPSHOTS, TIMERS):
        await purging.empty(api, stream)


async def drop_submissions(api: Api, is_ours: Callable[[str, bytes, int, int], bool]) -> int:
    """Take away what waits to be taken in, and is for another log, by (subject, data, sequence, time); how many."""
    gone = 0
    for subject in TAKERS:
        at = 0
        while found := await api.first_after(SUBMISSIONS, at, subject):
            at = found.seq
            if not is_ours(subject, found.data, found.seq, found.time_ns):
                await streams.erase(api, SUBMISSIONS, at)
                gone += 1
    return gone


async def end(api: Api, noted: Cell) -> None:
    """The split is done."""
    await cell.write(api, noted._replace(begun=None))
