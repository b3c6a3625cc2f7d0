"""What `append` and `append_batch` promise."""

import asyncio
import os
import time

import pytest

from callboard.bus.errors import Conflict, LogFull, TooLarge
from callboard.bus.log import Write
from callboard.events.errors import InvalidInput

LIMIT = 256 * 1024


def write(task: str, expected: int = 0, data: bytes = b"{}", kind: str = "submitted") -> Write:
    return Write(f"evt.7.task.{task}.{kind}", data, expected)


async def refusal(bus, wanted: Write) -> Exception | None:
    try:
        await bus.log.append(wanted)
    except LogFull as error:
        return error
    return None


async def test_sequences_have_no_gaps(bus):
    """Sequences count from 1 over all entities, and `end` is the last one."""
    assert await bus.log.end() == 0
    assert [await bus.log.append(write(f"t{number}")) for number in range(5)] == [1, 2, 3, 4, 5]
    assert await bus.log.end() == 5


async def test_a_record_is_what_was_written(bus):
    """A record holds the subject, the very bytes and the time at which it was stored."""
    before = time.time_ns()
    data = bytes(range(256))
    seq = await bus.log.append(write("t1", data=data, kind="assigned.deepseek"))
    (record,) = await bus.log.read("evt.7.task.t1")
    assert (record.seq, record.subject, record.data) == (seq, "evt.7.task.t1.assigned.deepseek", data)
    assert before <= record.time_ns <= time.time_ns()


async def test_the_expectation_is_the_entitys_last_sequence(bus):
    """A write is stored only if its entity's last sequence is the expected one, whatever other entities did."""
    first = await bus.log.append(write("t1"))
    await bus.log.append(write("t2"))
    second = await bus.log.append(write("t1", expected=first, kind="assigned.deepseek"))
    third = await bus.log.append(write("t1", expected=second, kind="started"))
    assert [record.seq for record in await bus.log.read("evt.7.task.t1")] == [first, second, third] == [1, 3, 4]


@pytest.mark.parametrize("expected", [0, 2, 99])
async def test_a_wrong_expectation_conflicts(bus, expected):
    """Any other expectation is a Conflict with JetStream's code, in one line, and nothing is stored."""
    await bus.log.append(write("t1"))
    with pytest.raises(Conflict) as refused:
        await bus.log.append(write("t1", expected=expected, kind="started"))
    assert refused.value.code == 10071
    assert "t1" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert await bus.log.end() == 1


async def test_an_expectation_for_a_new_entity_conflicts(bus):
    """An entity without messages has 0 as its last sequence."""
    with pytest.raises(Conflict):
        await bus.log.append(write("t1", expected=1))
    assert await bus.log.end() == 0


async def test_an_entity_whose_id_begins_like_anothers_is_another(bus):
    """Expectations and reads don't mix up ids of which one begins with the other."""
    await bus.log.append(write("t1"))
    await bus.log.append(write("t11"))
    assert [record.seq for record in await bus.log.read("evt.7.task.t1")] == [1]


async def test_one_of_many_racing_writers_wins(connect):
    """Of writers with the same expectation exactly one is stored; every other gets a Conflict."""
    buses = [await connect() for _ in range(3)]
    outcomes = await asyncio.gather(
        *(buses[number % 3].log.append(write("t1", data=b"%d" % number)) for number in range(30)),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1]
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 29
    (record,) = await buses[0].log.read("evt.7.task.t1")
    assert outcomes[int(record.data)] == 1


async def test_many_appends_at_once(bus):
    """Hundreds of appends in flight all get their own sequence, and each holds its own bytes."""
    seqs = await asyncio.gather(*(bus.log.append(write(f"t{number}", data=b"%d" % number)) for number in range(500)))
    assert sorted(seqs) == list(range(1, 501))
    stored = {record.seq: record.data async for records in bus.log.read_all() for record in records}
    assert all(stored[seq] == b"%d" % number for number, seq in enumerate(seqs))


async def test_the_largest_message(bus):
    """256 KiB are stored; a byte more is TooLarge, and the entity can go on."""
    await bus.log.append(write("t1", data=bytes(LIMIT)))
    with pytest.raises(TooLarge) as refused:
        await bus.log.append(write("t1", expected=1, data=bytes(LIMIT + 1)))
    assert refused.value.code == 10054
    assert "\n" not in str(refused.value)
    assert await bus.log.append(write("t1", expected=1)) == 2


@pytest.mark.parametrize(
    "subject", ["evt.7.task.t1", "evt.7.task.*.started", "evt.7.task.t1.>", "tok.t1", "evt.7..t1.x"]
)
async def test_only_events_are_stored(bus, subject):
    """A subject that isn't an event's is refused."""
    with pytest.raises(InvalidInput):
        await bus.log.append(Write(subject, b"{}", 0))
    assert await bus.log.end() == 0


async def test_a_batch_is_stored_in_order(bus):
    """A batch over many entities gets one run of sequences in its order."""
    await bus.log.append(write("t0"))
    assert await bus.log.append_batch([write("t0", expected=1), *(write(f"t{n}") for n in range(1, 6))]) == [
        *range(2, 8)
    ]
    subjects = [record.subject async for records in bus.log.read_all(after=1) for record in records]
    assert subjects == [f"evt.7.task.t{number}.submitted" for number in range(6)]


async def test_a_batch_of_one_and_of_none(bus):
    """One message is a batch; nothing is nothing."""
    assert await bus.log.append_batch([]) == []
    assert await bus.log.append_batch([write("t1")]) == [1]


@pytest.mark.parametrize("guilty", [0, 3, 6])
async def test_a_batch_is_stored_whole_or_not_at_all(bus, guilty):
    """One wrong expectation, wherever it stands, is a Conflict that leaves nothing of the batch behind."""
    await bus.log.append(write("t99"))
    writes = [write(f"t{number}") for number in range(6)]
    writes.insert(guilty, write("t99", expected=0))
    with pytest.raises(Conflict) as refused:
        await bus.log.append_batch(writes)
    assert refused.value.code == 10071
    assert await bus.log.end() == 1
    assert await bus.log.read("evt.7.task.t0") == []


async def test_two_writes_for_one_entity(bus):
    """A batch with two messages for one entity is refused: its sender should have made one message."""
    with pytest.raises(InvalidInput):
        await bus.log.append_batch([write("t1"), write("t2"), write("t1", expected=1)])
    assert await bus.log.end() == 0


async def test_the_largest_batch(bus):
    """1,000 messages are stored at once; 1,001 are TooLarge."""
    assert await bus.log.append_batch([write(f"t{number}") for number in range(1000)]) == list(range(1, 1001))
    with pytest.raises(TooLarge) as refused:
        await bus.log.append_batch([write(f"u{number}") for number in range(1001)])
    assert refused.value.code == 10199
    assert await bus.log.end() == 1000


async def test_a_batch_with_a_message_that_is_too_large(bus):
    """One message over 256 KiB refuses the whole batch."""
    with pytest.raises(TooLarge) as refused:
        await bus.log.append_batch([write("t1"), write("t2", data=bytes(LIMIT + 1))])
    assert refused.value.code == 10054
    assert await bus.log.end() == 0


async def test_racing_batches(connect):
    """Of two batches that share an entity one is stored whole; batches that share none are both stored."""
    one, two = await connect(), await connect()
    outcomes = await asyncio.gather(
        one.log.append_batch([write("a"), write("shared")]),
        two.log.append_batch([write("shared"), write("b")]),
        two.log.append_batch([write("c"), write("d")]),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert isinstance(outcomes[2], list)
    assert await one.log.end() == 4


async def test_a_full_log_refuses(connect):
    """At its size limit the log refuses writes with JetStream's code, evicts nothing, and is read as before."""
    bus = await connect(max_bytes=1024 * 1024)
    outcomes = [await refusal(bus, write(f"t{number}", data=os.urandom(200_000))) for number in range(12)]
    stored = outcomes.count(None)
    assert 1 < stored < 6
    assert outcomes[:stored] == [None] * stored
    refused = outcomes[-1]
    assert isinstance(refused, LogFull)
    assert refused.code == 10077
    assert "\n" not in str(refused)
    assert await bus.log.end() == stored
    assert len(await bus.log.read("evt.7.task.t0")) == 1


async def test_a_batch_that_does_not_fit(connect):
    """A batch that would grow the log over its limit is refused whole."""
    bus = await connect(max_bytes=1024 * 1024)
    await bus.log.append(write("t0", data=os.urandom(200_000)))
    with pytest.raises(LogFull) as refused:
        await bus.log.append_batch([write(f"u{number}", data=os.urandom(200_000)) for number in range(8)])
    assert refused.value.code == 10077
    assert await bus.log.end() == 1
    assert await bus.log.append(write("t1", data=os.urandom(200_000))) == 2
