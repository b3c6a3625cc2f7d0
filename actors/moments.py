"""Moments of the log: which sequence a time stands for."""

from callboard.bus.errors import NotFound
from callboard.bus.log import Log, Record


async def seq_at(log: Log, time_ns: int) -> int:
    """The sequence of the last message that was stored at or before ``time_ns`` (wall clock); 0 if there is none.

    It is found by bisection, in some twenty reads, however long the log is.
    """
    low, high = 0, await log.end()
    while low < high:
        middle = (low + high + 1) // 2
        record = await _at_or_after(log, middle)
        if record is not None and record.time_ns <= time_ns:
            low = min(record.seq, high)
        else:
            high = middle - 1
    return low


async def _at_or_after(log: Log, seq: int) -> Record | None:
    """The message at ``seq``, or the next one where that is no longer there."""
    try:
        [record] = await log.pick([seq])
    except NotFound:
        async for batch in log.read_all(after=seq):
            return batch[0]
        return None
    return record
