"""What a backend beyond the gate must not get by saying it: forgeries are refused, and leave nothing in the log."""

import asyncio
import time

import msgspec
import pytest
from servers.callable_models import Answering, answering
from servers.gates import Beyond, RunningGate

from callboard.actors.backend.providers.provider import Answer
from callboard.actors.gate.allowance import MESSAGE, Allowance
from callboard.actors.gate.belated import NO_SUCH_WORK
from callboard.actors.gate.words import (
    PART,
    Answered,
    Heard,
    Hello,
    Here,
    Make,
    Part,
    Refused,
    Said,
    Settled,
    Unanswered,
    Welcome,
)
from callboard.actors.gate.words import ByGate as Word
from callboard.bus.subjects import gate_desk, gate_door, tokens, told
from callboard.events.chat import ToolCall, Usage
from callboard.events.money import Price


class Forger:
    """Who holds the key of the backend ``name``, and says what it likes; it hears what the backend is told."""

    def __init__(self, signals, name: str, gate: str) -> None:
        self._signals = signals
        self._name = name
        self._gate = gate
        self.heard = []
        self._new = asyncio.Event()

    async def begin(self, **here) -> "Forger":
        await self._signals.subscribe(told(self._name, "forger"), self._hear)
        await self.say(Here(**here))
        await self.hears(Heard)
        return self

    async def _hear(self, note) -> None:
        self.heard.append(msgspec.msgpack.decode(note.data, type=Word | Part))
        self._new.set()

    async def say(self, word) -> None:
        await self.shout(msgspec.msgpack.encode(word))

    async def shout(self, data: bytes) -> None:
        await self._signals.publish(gate_desk(self._name, self._gate, "forger"), data)

    async def hears(self, kind):
        """The next word of a kind."""
        async with asyncio.timeout(5):
            while True:
                for word in self.heard:
                    if isinstance(word, kind):
                        self.heard.remove(word)
                        return word
                self._new.clear()
                await self._new.wait()


@pytest.fixture
async def gate(stage, monkeypatch):
    monkeypatch.setattr("callboard.actors.gate.door.REFUSALS_PER_S", 1000)
    running = RunningGate(stage.bus.join(), 1)
    await running.start()
    yield running
    await running.die()
    await running.bus.aclose()


@pytest.fixture
async def forger(stage, gate):
    """It has the key of the backend ``evil``; ``good`` is another's."""
    await stage.register("evil")
    await stage.register("good", Price(1_000_000, 1_000_000))
    forger = Forger(stage.bus.join().signals, "evil", gate.gate.id)
    while "evil" not in gate.gate._doors:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)
    return await forger.begin()


ONE = Usage(1, 1)


def answer(call: str, text: str = "forged", usage: Usage = ONE, **fields) -> Answered:
    return Answered(call, Answer(text, usage, "stop", "m", **fields))


async def handed(forger, stage, **task) -> tuple[object, str]:
    """A task of its own, and the name of the call that it is handed."""
    handle = await stage.board.submit("x", backend="evil", **task)
    make = await forger.hears(Make)
    return handle, make.request.call_id


async def refused(forger) -> str:
    return (await forger.hears(Refused)).why


async def test_nobody_answers_the_call_of_another_backend(stage, gate, forger):
    """Its task is under way with another, or was, or nobody knows it: it is told the same of all."""
    go = asyncio.Event()

    async def say(_):
        await go.wait()
        return "rightful"

    good = Beyond(stage.bus.join().signals, "good", Answering(say))
    handle = await stage.board.submit("x", backend="good")
    while "started" not in await stage.history(handle.id):
        await asyncio.sleep(0.005)
    end = await stage.bus.log.end()
    for call in (f"{handle.id}-1", f"{handle.id}-2", "00-01ARZ3NDEKTSV4RRFFQ69G5FAV-1", "nonsense", "a-b", "evil-0"):
        await forger.say(answer(call))
        assert await refused(forger) == NO_SUCH_WORK
        await forger.say(Unanswered(call, "unavailable", "forged"))
        assert await refused(forger) == NO_SUCH_WORK
    assert await stage.bus.log.end() == end
    go.set()
    assert (await handle.result(5)).output == "rightful"
    await forger.say(answer(f"{handle.id}-1"))
    assert await refused(forger) == NO_SUCH_WORK
    assert (await handle.state()).cost == 15
    assert gate.gate._doors["evil"][0].refused == 13
    await good.die()


async def test_nobody_speaks_in_the_stream_of_another_task(stage, gate, forger):
    """Text of a call that was not handed out is heard by nobody."""
    heard = []

    async def hear(note):
        heard.append(note)

    handle = await stage.board.submit("x", backend="good")
    await stage.bus.signals.subscribe(tokens(handle.id), hear)
    await forger.say(Said(f"{handle.id}-1", 0, "forged"))
    await forger.say(Here())
    await forger.hears(Heard)
    await asyncio.sleep(0.05)
    assert not heard


async def test_text_with_a_gap_is_not_told_on(stage, gate, forger):
    """It would stand in a wrong place; the answer has all of it."""
    heard = []

    async def hear(note):
        heard.append(msgspec.json.decode(note.data)["text"])

    handle, call = await handed(forger, stage)
    await stage.bus.signals.subscribe(tokens(handle.id), hear)
    for at, text in ((0, "one "), (4, "two "), (12, "four "), (8, "three "), (0, "one ")):
        await forger.say(Said(call, at, text))
    await forger.say(answer(call, "one two three four"))
    assert (await handle.result(5)).output == "one two three four"
    assert heard == ["one ", "two "]


async def test_a_call_is_settled_once_however_often_it_is_said(stage, gate, forger):
    """Replayed, with other words, or as a failure: the first counts."""
    handle, call = await handed(forger, stage)
    await forger.say(answer(call, "first"))
    assert (await handle.result(5)).output == "first"
    await forger.hears(Settled)
    end = await stage.bus.log.end()
    for word in (answer(call, "first"), answer(call, "second", Usage(9, 9)), Unanswered(call, "timeout", "late")):
        await forger.say(word)
        await forger.hears(Settled)
    assert await stage.bus.log.end() == end


async def test_a_call_that_was_not_begun_is_none(stage, gate, forger):
    """Neither the next one of a task of its own, nor one of a task that waits."""
    handle, call = await handed(forger, stage)
    end = await stage.bus.log.end()
    await forger.say(answer(f"{handle.id}-2"))
    assert await refused(forger) == NO_SUCH_WORK
    assert await stage.bus.log.end() == end
    await forger.say(answer(call))
    await handle.result(5)


@pytest.mark.parametrize(
    "said", [Usage(-(10**12), -5, -1), Usage(10**12, 10**12, 10**12), Usage(5, 5, 10**9), Usage(2**62, 2**62)]
)
async def test_no_usage_earns_money_or_costs_more_than_the_call_can(stage, gate, forger, said):
    """A budget's hold covers it, whatever it is said to be."""
    await stage.board.set_budget("team", limit=10_000_000)
    handle, call = await handed(forger, stage, budget="team")
    hold = (await handle.state()).hold
    await forger.say(answer(call, usage=said))
    outcome = await handle.result(5)
    assert 0 <= outcome.cost <= hold.amount
    assert 0 <= outcome.usage.cached <= outcome.usage.input <= hold.input
    assert 0 <= outcome.usage.output <= hold.output


@pytest.mark.parametrize(
    "end",
    [
        {"text": "x", "tool_calls": (ToolCall("c", "t", "a" * 200_000),)},
        {"text": "x", "tool_calls": tuple(ToolCall("c", "t", "a") for _ in range(10_000))},
    ],
    ids=["long", "many"],
)
async def test_an_answer_that_does_not_fit_the_log_is_a_failure(stage, gate, forger, end):
    """The task goes on to somebody else; it is not the task's fault."""
    handle, call = await handed(forger, stage)
    await forger.say(answer(call, **end))
    while "failed" not in await stage.history(handle.id):
        await asyncio.sleep(0.005)
    assert (await handle.state()).failure.kind == "malformed"
    await handle.cancel()


async def test_names_and_reasons_are_cut(stage, gate, forger):
    """What everybody reads is no place to leave things."""
    handle, call = await handed(forger, stage)
    await forger.say(Answered(call, Answer("x", Usage(1, 1), "f" * 5000, "m" * 5000)))
    outcome = await handle.result(5)
    assert len(outcome.model) == len(outcome.finish) == 200
    handle, call = await handed(forger, stage)
    await forger.say(Unanswered(call, "rate_limited", "w" * 50_000, 2**62))
    while "failed" not in await stage.history(handle.id):
        await asyncio.sleep(0.005)
    failure = (await handle.state()).failure
    assert len(failure.message) == 2000
    assert failure.retry_after == 3600 * 10**9
    await handle.cancel()


NONSENSE = [
    b"",
    b"\xc1",
    b"{}",
    b"\x91" * 100_000,
    msgspec.msgpack.encode({"type": "assigned", "backend": "evil"}),
    msgspec.msgpack.encode({"type": "here", "calls": ["a.b"]}),
    msgspec.msgpack.encode({"type": "here", "slots": -1}),
    msgspec.msgpack.encode({"type": "here", "calls": ["x"] * 5000}),
    msgspec.msgpack.encode({"type": "said", "call": "x", "at": 0, "text": 5}),
    b"\x84\xa4type\xa4said\xa4call\xa1x\xa2at\x00\xa4text\xa3\xed\xa0\x80",
    msgspec.msgpack.encode({"type": "unanswered", "call": "x", "kind": "other", "message": ""}),
    msgspec.msgpack.encode(Part("x", 5, 5, b"")),
    msgspec.msgpack.encode(Part("x", 0, 2**31, b"")),
    msgspec.msgpack.encode(Part("x", 0, 1, msgspec.msgpack.encode(Part("y", 0, 1, b"")))),
    msgspec.msgpack.encode(Part("x", 0, 2, b"a" * (PART + 1))),
]


async def test_nonsense_is_refused_in_one_line(stage, gate, forger):
    """And what comes after it is heard."""
    end = await stage.bus.log.end()
    for data in NONSENSE:
        await forger.shout(data)
        assert "\n" not in await refused(forger)
    assert await stage.bus.log.end() == end
    handle, call = await handed(forger, stage)
    await forger.say(answer(call, "sense"))
    assert (await handle.result(5)).output == "sense"


async def test_names_of_processes_are_no_way_into_other_subjects(stage, gate, forger):
    """What is no id is let in by no gate, and answered nowhere."""
    door, heard = gate.gate._doors["evil"][0], []

    async def hear(note):
        heard.append(note.subject)

    await stage.bus.signals.subscribe("told.>", hear)
    for caller in ("x y", "ä", "$SYS", "a" * 65):
        subject = gate_desk("evil", gate.gate.id, caller)
        await stage.bus.signals.publish(subject, msgspec.msgpack.encode(Here()))
    await forger.say(Here())
    await forger.hears(Heard)
    assert door._seats.keys() == {"forger"}
    assert set(heard) <= {"told.evil.forger"}
    assert door.refused == 4


async def test_only_so_many_processes_are_let_in(stage, gate, forger, monkeypatch):
    """Whoever holds the key may pretend to be many, but not any number."""
    monkeypatch.setattr("callboard.actors.gate.door.MAX_GUESTS", 3)
    door = gate.gate._doors["evil"][0]
    for number in range(10):
        subject = gate_desk("evil", gate.gate.id, f"caller{number}")
        await stage.bus.signals.publish(subject, msgspec.msgpack.encode(Here()))
    await stage.bus.signals.publish(gate_door("evil"), msgspec.msgpack.encode(Hello("forger")))
    await forger.say(Here())
    await forger.hears(Heard)
    assert door._seats.keys() == {"forger", "caller0", "caller1"}
    assert not any(isinstance(word, Welcome) for word in forger.heard)


async def test_refusals_are_no_way_to_make_the_gate_talk(stage, gate, forger):
    """All are counted, and only so many are answered."""
    door = gate.gate._doors["evil"][0]
    door._refusals = Allowance(3)
    for _ in range(50):
        await forger.shout(b"nonsense")
    await forger.say(Here())
    await forger.hears(Heard)
    assert door.refused == 50
    assert 3 <= sum(isinstance(word, Refused) for word in forger.heard) <= 6


def test_an_allowance_is_for_a_second():
    """Messages and bytes count; the next second begins anew."""
    allowance = Allowance(3)
    assert [allowance.take(10, at) for at in (5.0, 5.5, 5.9, 5.99)] == [True, True, True, False]
    assert [allowance.take(size, 6.0) for size in (MESSAGE, MESSAGE)] == [True, False]


async def test_parts_that_never_end_take_no_more_room(stage, gate, forger):
    """The oldest are given up; a whole word still comes through."""
    gate.gate._doors["evil"][0]._allowance._most = 10**6
    joiner = gate.gate._doors["evil"][0]._joiner
    for number in range(200):
        await forger.say(Part(f"w{number}", 0, 16, b"a" * PART))
    await forger.say(Here())
    await forger.hears(Heard)
    assert joiner._size <= 32 * 1024 * 1024
    assert len(joiner._under_way) <= 64
    handle, call = await handed(forger, stage)
    data = msgspec.msgpack.encode(answer(call, "in parts"))
    for number in (1, 0):
        await forger.say(Part("whole", number, 2, data[number * 10 :] if number else data[:10]))
    assert (await handle.result(5)).output == "in parts"


async def test_who_floods_the_gate_is_not_heard_for_a_while(stage, gate, forger, monkeypatch):
    """Others are."""
    monkeypatch.setattr("callboard.actors.gate.door.BARRED_S", 0.3)
    good = Beyond(stage.bus.join().signals, "good", answering("as ever"))
    door = gate.gate._doors["evil"][0]
    door._allowance._most = 100
    for _ in range(500):
        await forger.say(Here())
    await asyncio.sleep(0.05)
    heard = len(forger.heard)
    assert heard < 120
    await forger.say(Here())
    assert (await (await stage.board.submit("x", backend="good")).result(5)).output == "as ever"
    assert len(forger.heard) == heard
    door._allowance._most = 10**6
    forger.heard.clear()
    began = time.monotonic()
    while not any(isinstance(word, Heard) for word in forger.heard):
        await forger.say(Here())
        await asyncio.sleep(0.02)
    assert time.monotonic() - began > 0.1, "it was not heard"
    await good.die()


async def test_a_backend_that_is_not_registered_finds_no_gate(stage, gate, forger):
    """As if there were none."""
    signals, heard = stage.bus.join().signals, []

    async def hear(note):
        heard.append(note)

    await signals.subscribe("told.*.*", hear)
    await signals.publish(gate_door("unknown"), msgspec.msgpack.encode(Here()))
    await signals.publish(gate_desk("unknown", gate.gate.id, "x"), msgspec.msgpack.encode(Here()))
    await asyncio.sleep(0.05)
    assert not heard


async def test_it_is_told_of_its_own_calls_and_nothing_else(stage, gate, forger):
    """No other task's texts, no prices, no budgets, no other backend's name."""
    near = stage.work("good", answering("near")._say)
    await stage.board.set_budget("team", limit=10_000_000)
    other = await stage.board.submit("not for evil", backend="good", budget="team")
    await other.result(5)
    handle, call = await handed(forger, stage, budget="team", tags=["a-tag"])
    await forger.say(answer(call))
    await handle.result(5)
    await forger.hears(Settled)
    told_all = b"".join(map(msgspec.msgpack.encode, forger.heard))
    assert near.requests
    for word in (b"not for evil", b"team", b"good", b"a-tag", other.id.encode()):
        assert word not in told_all
    assert {type(word) for word in forger.heard} <= {Heard, Settled, Welcome}
