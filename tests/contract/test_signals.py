"""What plain messages promise, and the submissions that are made with them."""

import asyncio
import os

from callboard.bus.subjects import SUBMIT, SUBMIT_SCORE


class Ear:
    """Collects what a subscription receives."""

    def __init__(self) -> None:
        self.notes = []
        self.changed = asyncio.Event()

    async def __call__(self, note) -> None:
        self.notes.append(note)
        self.changed.set()

    async def heard(self, number: int) -> list:
        async with asyncio.timeout(5):
            while len(self.notes) < number:
                self.changed.clear()
                await self.changed.wait()
        return self.notes


async def test_wildcards(connect):
    """Whoever subscribed to a subject, by name or with wildcards, is told, in order, over all connections."""
    bus, other = await connect(), await connect()
    wanted = {
        "tok.t1": ["tok.t1"],
        "tok.*": ["tok.t1", "tok.t2"],
        "tok.>": ["tok.t1", "tok.t2", "tok.t1.end"],
        "hb.*.1": ["hb.x.1"],
        "*": ["end"],
    }
    ears = {pattern: Ear() for pattern in wanted}
    for pattern, ear in ears.items():
        await other.signals.subscribe(pattern, ear)
    for subject in ("tok.t1", "tok.t2", "tok.t1.end", "hb.x.1", "hb.x.2", "end"):
        await bus.signals.publish(subject, subject.encode())
    for pattern, subjects in wanted.items():
        heard = await ears[pattern].heard(len(subjects))
        assert [note.subject for note in heard] == subjects
        assert all(note.data == note.subject.encode() and note.reply == "" for note in heard)


async def test_one_after_another(bus):
    """A receiver gets the next message only when it is done with the one before, and nothing is lost meanwhile."""
    busy = False
    order = []
    done = asyncio.Event()

    async def receive(note) -> None:
        nonlocal busy
        assert not busy
        busy = True
        await asyncio.sleep(0.001)
        order.append(int(note.data))
        busy = False
        if note.data == b"49":
            done.set()

    await bus.signals.subscribe("tok.x", receive)
    for number in range(50):
        await bus.signals.publish("tok.x", b"%d" % number)
    async with asyncio.timeout(5):
        await done.wait()
    assert order == list(range(50))


async def test_a_receiver_that_fails(bus):
    """A receiver's error doesn't end its subscription."""
    ear = Ear()

    async def receive(note) -> None:
        if note.data == b"bad":
            raise ValueError(note.data)
        await ear(note)

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await bus.signals.subscribe("tok.x", receive)
    for data in (b"bad", b"good"):
        await bus.signals.publish("tok.x", data)
    assert (await ear.heard(1))[0].data == b"good"


async def test_unsubscribe(bus):
    """After unsubscribing nothing more is received, others still are told; a receiver may end itself."""
    gone, stays, once = Ear(), Ear(), Ear()
    unsubscribe = await bus.signals.subscribe("tok.x", gone)
    await bus.signals.subscribe("tok.x", stays)

    async def receive_once(note) -> None:
        await stop_once()
        await once(note)

    stop_once = await bus.signals.subscribe("tok.x", receive_once)
    await bus.signals.publish("tok.x", b"1")
    await gone.heard(1)
    await once.heard(1)
    await unsubscribe()
    await bus.signals.publish("tok.x", b"2")
    await stays.heard(2)
    assert [len(ear.notes) for ear in (gone, stays, once)] == [1, 2, 1]


async def test_request_and_reply(connect):
    """A reply comes to the fresh inbox that the request named."""
    asker, answerer = await connect(), await connect()

    async def answer(note) -> None:
        await answerer.signals.publish(note.reply, b"re: " + note.data)

    await answerer.signals.subscribe("ask.me", answer)
    inbox, ear = asker.signals.inbox(), Ear()
    assert inbox != asker.signals.inbox()
    await asker.signals.subscribe(inbox, ear)
    await asker.signals.publish("ask.me", b"hello", reply=inbox)
    assert (await ear.heard(1))[0].data == b"re: hello"


async def test_signals_are_not_stored(bus):
    """A message that nobody hears is gone, and none reaches the log."""
    await bus.signals.publish("tok.x", b"lost")
    ear = Ear()
    await bus.signals.subscribe("tok.x", ear)
    await bus.signals.publish("tok.x", b"heard")
    assert [note.data for note in await ear.heard(1)] == [b"heard"]
    assert await bus.log.end() == 0


async def test_submissions(connect):
    """What anybody published as a submission waits for intake, also one that joins later, until acknowledged."""
    anybody, intake = await connect(), await connect()
    await (await intake.submissions()).aclose()
    ear = Ear()
    await intake.signals.subscribe(SUBMIT, ear)
    for number in range(3):
        await anybody.signals.publish(SUBMIT, b'{"n": %d}' % number)
    assert len(await ear.heard(3)) == 3
    queue = await intake.submissions(ack_wait_s=0.5)
    deliveries = queue.deliveries()
    async with asyncio.timeout(10):
        taken = [await anext(deliveries) for _ in range(3)]
        assert [delivery.record.data for delivery in taken] == [b'{"n": 0}', b'{"n": 1}', b'{"n": 2}']
        assert {(delivery.record.subject, delivery.attempt) for delivery in taken} == {(SUBMIT, 1)}
        await taken[0].ack()
        await taken[2].ack()
        again = await anext(deliveries)
        assert (again.record.data, again.attempt) == (b'{"n": 1}', 2)
        await again.ack()
        while await queue.pending():
            await asyncio.sleep(0.01)
    assert await intake.log.end() == 0


async def test_each_kind_of_submission_has_a_queue_of_its_own(connect):
    """Scores wait for whoever takes scores, tasks for intake."""
    bus = await connect()
    tasks, scores = await bus.submissions(), await bus.submissions(SUBMIT_SCORE)
    await bus.signals.publish(SUBMIT_SCORE, b'{"score": 1}')
    await bus.signals.publish(SUBMIT, b'{"input": "x"}')
    async with asyncio.timeout(10):
        for queue, data in ((scores, b'{"score": 1}'), (tasks, b'{"input": "x"}')):
            delivery = await anext(queue.deliveries())
            assert delivery.record.data == data
            await delivery.ack()
            while await queue.pending():
                await asyncio.sleep(0.01)


async def test_submissions_that_do_not_fit(connect):
    """What does not fit is dropped, and how much still fits is told."""
    bus = await connect(max_bytes=256 * 1024)
    queue = await bus.submissions()
    assert 200_000 < await bus.room() <= 256 * 1024
    await bus.signals.publish(SUBMIT, os.urandom(200_000))
    async with asyncio.timeout(10):
        while not await queue.pending():
            await asyncio.sleep(0.01)
    assert await bus.room() < 100_000
    await bus.signals.publish(SUBMIT, os.urandom(100_000))
    await asyncio.sleep(0.1)
    assert await queue.pending() == 1
    async with asyncio.timeout(10):
        async for delivery in queue.deliveries():
            await delivery.ack()
            break
        while await bus.room() < 200_000:
            await asyncio.sleep(0.01)


async def test_trace_context_travels(connect):
    """What a sender puts into the traceparent header reaches who listens, and who takes a submission."""
    anybody, intake = await connect(), await connect()
    context = f"00-{'a' * 32}-{'b' * 16}-01"
    ear = Ear()
    await intake.signals.subscribe("tok.x", ear)
    await anybody.signals.publish("tok.x", b"1", traceparent=context)
    await anybody.signals.publish("tok.x", b"2")
    assert [note.traceparent for note in await ear.heard(2)] == [context, ""]
    deliveries = (await intake.submissions()).deliveries()
    await anybody.signals.publish(SUBMIT, b"{}", traceparent=context)
    async with asyncio.timeout(10):
        assert (await anext(deliveries)).record.traceparent == context
