"""Backends beyond the gate: they do all that others do, by nothing but the calls that they are handed."""

import asyncio
import random

import pytest
from msgspec.structs import replace
from servers.callable_models import Answering, answering
from servers.gates import Beyond, RunningGate, Silenced

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.checks import Check
from callboard.actors.claim_check import INLINE
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.hedger import Hedger
from callboard.actors.router.policies.registry import policies
from callboard.events.backend import Priced
from callboard.events.chat import Message
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.cost import COST


@pytest.fixture
async def gate(stage, monkeypatch):
    """A gate that notices soon."""
    monkeypatch.setattr("callboard.actors.gate.guest.SILENT_S", 0.4)
    monkeypatch.setattr("callboard.actors.gate.caller.SILENT_S", 0.4)
    for module in ("door", "caller"):
        monkeypatch.setattr(f"callboard.actors.gate.{module}.BEAT_S", 0.05)
    monkeypatch.setattr("callboard.actors.gate.caller.RESEND_S", 0.2)
    monkeypatch.setattr("callboard.actors.gate.guest.RESEND_S", 0.2)
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.5)
    running = RunningGate(stage.bus.join(), 1)
    await running.start()
    yield running
    await running.die()
    await running.bus.aclose()


async def echo(request):
    return request.messages[-1].content.upper()


async def settled(stage):
    """All that is on its way is in the log."""
    await asyncio.sleep(0.1)
    await stage.projector.reached(await stage.bus.log.end())


async def test_a_task_is_done_by_a_process_beyond_the_gate(stage, gate):
    """Its history is as any other's; the text is streamed, and the cost is that of the tokens."""
    await stage.register("far")
    far = Beyond(stage.bus.join().signals, "far", Answering(echo))
    await far.at_work()
    handle = await stage.board.submit("hello there")
    heard = [text async for text in handle.stream()]
    outcome = await handle.result(5)
    assert (outcome.output, outcome.backend, outcome.cost) == ("HELLO THERE", "far", 20)
    assert "".join(heard) == "HELLO THERE"
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    await far.die()


async def test_large_inputs_and_outputs_go_in_parts(stage, gate, monkeypatch):
    """What lies in the blob store is fetched, and put there, by the gate."""
    monkeypatch.setattr("callboard.actors.gate.parts.PART", 10_000)
    await stage.register("far", context=10_000_000)
    far = Beyond(stage.bus.join().signals, "far", Answering(echo))
    await far.at_work()
    text = "ä" * INLINE
    handle = await stage.board.submit(text)
    assert (await handle.result(10)).output == text.upper()
    assert (await handle.state()).completed.output.size == 2 * INLINE
    await far.die()


async def test_nobody_makes_a_cancelled_call_any_longer(stage, gate):
    """The process is told at once, and what the call used so far is booked."""
    await stage.register("far")
    started, stopped = asyncio.Event(), asyncio.Event()

    async def say(_):
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    far = Beyond(stage.bus.join().signals, "far", Answering(say))
    await far.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(started.wait(), 5)
    await handle.cancel()
    await asyncio.wait_for(stopped.wait(), 5)
    await settled(stage)
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "cancelled", "spent"]
    await far.die()


async def test_no_more_is_handed_out_than_was_asked_for_and_the_urgent_first(stage, gate):
    """Of a backend that could do eight at a time, this process takes two."""
    await stage.register("far")
    now, most, order = [0], [0], []
    go = asyncio.Event()

    async def say(request):
        now[0] += 1
        most[0] = max(most)
        most.append(now[0])
        order.append(request.messages[-1].content)
        await go.wait()
        now[0] -= 1
        return "x"

    far = Beyond(stage.bus.join().signals, "far", Answering(say), slots=2)
    await far.at_work()
    handles = [await stage.board.submit(f"{number}", priority=0) for number in range(5)]
    while len(order) < 2:
        await asyncio.sleep(0.005)
    handles.append(await stage.board.submit("urgent", priority=9))
    await settled(stage)
    go.set()
    await asyncio.gather(*(handle.result(10) for handle in handles))
    assert max(most) == 2
    assert order.index("urgent") <= 3
    await far.die()


async def test_two_processes_share_the_work_and_one_may_leave(stage, gate):
    """Who leaves finishes what it has, and gets no more."""
    await stage.register("far", concurrency=2)

    async def say(_):
        await asyncio.sleep(0.02)
        return "x"

    first, second = (Beyond(stage.bus.join().signals, "far", Answering(say)) for _ in range(2))
    await first.at_work()
    await second.at_work()
    handles = [await stage.board.submit(f"{number}") for number in range(40)]
    await asyncio.sleep(0.1)
    await first.caller.drain(10)
    count = len(first.caller._provider.requests)
    assert count
    await first.die()
    await asyncio.gather(*(handle.result(10) for handle in handles))
    requests = first.caller._provider.requests + second.caller._provider.requests
    assert len(requests) == 40
    assert len(first.caller._provider.requests) == count
    for handle in handles:
        assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    await second.die()


async def test_failures_are_told_and_open_the_breaker(stage, gate):
    """The backend says why, and how long to wait."""
    await stage.register("far")

    async def say(_):
        raise ProviderError(FailureKind.UNAUTHORIZED, "no such key")

    far = Beyond(stage.bus.join().signals, "far", Answering(say))
    await far.at_work()
    handle = await stage.board.submit("x")
    while "failed" not in await stage.history(handle.id):
        await asyncio.sleep(0.01)
    assert "opened" in await stage.events("backend", "far")
    assert (await handle.state()).failure.message == "no such key"
    await handle.cancel()
    await far.die()


async def test_the_money_is_looked_after_by_the_gate(stage, gate):
    """A call is held to what its hold allows, and its cost stays within that whatever the backend says of it."""
    await stage.register("far", Price(1_000_000, 1_000_000))
    await stage.board.set_budget("team", limit=1_000_000)
    asked = []

    class Greedy(Answering):
        async def stream(self, request):
            asked.append(request.max_tokens)
            async for part in super().stream(request):
                yield (
                    part
                    if not hasattr(part, "usage")
                    else type(part)(part.text, type(part.usage)(10**6, 10**6, 10**6), part.finish, part.model)
                )

    far = Beyond(stage.bus.join().signals, "far", Greedy(echo))
    await far.at_work()
    handle = await stage.board.submit("hello", budget="team")
    outcome = await handle.result(10)
    hold = (await handle.state()).hold
    assert asked == [hold.output]
    assert 0 < outcome.cost <= hold.amount
    await far.die()


async def test_answers_are_verified_at_the_gate(stage, gate):
    """A backend does not judge itself."""
    await stage.register("far", capabilities=("chat", "schema"))
    far = Beyond(stage.bus.join().signals, "far", Answering(echo))
    await far.at_work()
    handle = await stage.board.submit("{}", schema={"type": "object"})
    outcome = await handle.result(5)
    assert outcome.scores == {"schema": 1_000_000}
    await far.die()


async def test_a_cascade_declines_what_comes_from_beyond_the_gate(stage, gate):
    """The check runs at the gate, and the next backend is asked, which is here."""
    checks = {"long": Check(700_000, lambda answer: len(answer) > 10)}
    stage.route(replace(stage.rules, policies=policies(fallback="cheapest"), cascade=CascadeRules(checks=checks)))
    gate.checks.update(checks)
    await stage.register("far", Price(1, 1), tier="small")
    await stage.register("near", Price(10_000_000, 10_000_000), tier="frontier")
    stage.work("near", answering("a long and careful answer")._say)
    far = Beyond(stage.bus.join().signals, "far", answering("no"))
    await far.at_work()
    handle = await stage.board.submit("x", policy="cascade", check="long")
    assert (await handle.result(5)).backend == "near"
    told = await stage.history(handle.id)
    assert told[:5] == ["submitted", "assigned", "started", "answered", "declined"]
    await far.die()


async def test_a_late_call_beyond_the_gate_is_hedged(stage, gate, monkeypatch):
    """The gate tells that it has no first token; the other answers, and the far one is stopped."""
    monkeypatch.setattr("callboard.actors.backend.heartbeat.LATE_MEASURED", 3)
    await stage.register("far")
    await stage.register("near")
    stalling, stopped = asyncio.Event(), asyncio.Event()

    async def say(_):
        if stalling.is_set():
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()
        return "far"

    far = Beyond(stage.bus.join().signals, "far", Answering(say))
    stage.work("near", answering("near")._say)
    await far.at_work()
    for name in ("far", "near"):
        for _ in range(4):
            await (await stage.board.submit("x", backend=name)).result(5)
    stage.route(replace(stage.rules, default="cheapest"))
    await stage.change("near", Priced(Price(1_500_000, 3_000_000)))
    stage.run(Hedger(stage.bus, stage.tasks.by("hedger"), stage.projector, 100).run())
    stalling.set()
    handle = await stage.board.submit("x")
    assert (await handle.result(5)).backend == "near"
    await asyncio.wait_for(stopped.wait(), 5)
    while "spent" not in await stage.history(handle.id):
        await asyncio.sleep(0.01)
    assert "hedged" in await stage.history(handle.id)
    await far.die()


async def test_a_context_is_read_by_the_gate(stage, gate):
    """The backend gets the conversation as of the version that the task reads."""
    await stage.register("far", context=100_000)
    plan = stage.board.context("plan")
    await plan.say("Where shall we go?")
    provider = Answering(echo)
    far = Beyond(stage.bus.join().signals, "far", provider)
    handle = await stage.board.submit("By train?", context="plan")
    await handle.result(5)
    assert provider.requests[0].messages == (Message("user", "Where shall we go?"), Message("user", "By train?"))
    await far.die()


async def test_what_has_become_too_dear_is_not_handed_out(stage, gate):
    """It is given back before it begins, and comes again with money enough."""
    await stage.register("far")
    await stage.board.set_budget("team", limit=100_000_000)
    handle = await stage.board.submit("x", budget="team")
    while "assigned" not in await stage.history(handle.id):
        await asyncio.sleep(0.005)
    await stage.change("far", Priced(Price(9_000_000, 9_000_000)))
    await gate.projector.reached(await stage.bus.log.end())
    provider = Answering(echo)
    far = Beyond(stage.bus.join().signals, "far", provider)
    outcome = await handle.result(5)
    told = await stage.history(handle.id)
    assert told == ["submitted", "assigned", "released", "assigned", "started", "completed"]
    assert len(provider.requests) == 1
    assert outcome.cost == 135
    await far.die()


async def test_what_is_private_is_opened_for_the_call_alone(stage, gate):
    """The backend gets the prompt, and no word of whom it is about; the log gets the answer sealed."""
    await stage.register("far")
    provider = Answering(echo)
    far = Beyond(stage.bus.join().signals, "far", provider)
    await far.at_work()
    handle = await stage.board.submit("my secret", private="ann")
    assert (await handle.result(5)).output == "MY SECRET"
    (request,) = provider.requests
    assert request.messages[-1].content == "my secret"
    records = [r async for batch in stage.bus.log.read_all() for r in batch]
    assert not any(b"secret" in r.data.lower() for r in records)
    await far.die()


async def test_a_killed_process_loses_its_calls_to_another(stage, gate):
    """Its call is interrupted, and made again; what it cost is not known, until somebody says so."""
    await stage.register("far")
    hung = asyncio.Event()

    async def hang(_):
        hung.set()
        await asyncio.sleep(60)

    line = Silenced(stage.bus.join().signals)
    first = Beyond(line, "far", Answering(hang))
    await first.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(hung.wait(), 5)
    line.dead = True
    await first.die()
    second = Beyond(stage.bus.join().signals, "far", Answering(echo))
    assert (await handle.result(10)).output == "X"
    told = [event for event in await stage.history(handle.id) if event != "spent"]  # unless its loss was noticed late
    assert told == ["submitted", "assigned", "started", "interrupted", "started", "completed"]
    await second.die()


async def test_a_late_answer_is_booked_and_no_more(stage, gate):
    """Who was cut off comes back with an answer that nobody waits for: its cost is told, once."""
    await stage.register("far")
    go, begun = asyncio.Event(), asyncio.Event()

    async def late(_):
        begun.set()
        await go.wait()
        return "late"

    line = Silenced(stage.bus.join().signals)
    first = Beyond(line, "far", Answering(late))
    await first.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    line.dead = True
    second = Beyond(stage.bus.join().signals, "far", Answering(echo))
    assert (await handle.result(10)).output == "X"
    line.dead = False
    go.set()
    while "spent" not in await stage.history(handle.id):
        await asyncio.sleep(0.01)
    await settled(stage)
    told = await stage.history(handle.id)
    assert told.count("spent") == 1
    assert (await handle.state()).cost == 40
    assert not (await handle.state()).unsettled
    assert not first.caller._calls
    await first.die()
    await second.die()


@pytest.mark.parametrize("orderly", [True, False], ids=["it ends", "it dies"])
async def test_a_call_outlives_its_gate(stage, gate, orderly):
    """The next gate goes on with it: it is made once, and completes the task."""
    await stage.register("far")
    go, begun = asyncio.Event(), asyncio.Event()

    async def slow(_):
        begun.set()
        await go.wait()
        return "at last"

    provider = Answering(slow)
    far = Beyond(stage.bus.join().signals, "far", provider)
    await far.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    await (gate.leave() if orderly else gate.die())
    other = RunningGate(stage.bus.join(), 2)
    await other.start()
    while far.caller._gate != other.gate.id:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    go.set()
    assert (await handle.result(10)).output == "at last"
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    assert len(provider.requests) == 1
    await settled(stage)
    assert not far.caller._calls
    assert not stage.projector.state(COST).running
    await far.die()
    await other.die()


async def test_an_answer_outlives_its_gate(stage, gate, monkeypatch):
    """It came when no gate was there to hear it."""
    await stage.register("far")
    go, begun = asyncio.Event(), asyncio.Event()

    async def slow(_):
        begun.set()
        await go.wait()
        return "at last"

    far = Beyond(stage.bus.join().signals, "far", Answering(slow))
    await far.at_work()
    handle = await stage.board.submit("x")
    await asyncio.wait_for(begun.wait(), 5)
    await gate.die()
    go.set()
    await asyncio.sleep(0.1)
    other = RunningGate(stage.bus.join(), 2)
    await other.start()
    assert (await handle.result(10)).output == "at last"
    assert await stage.history(handle.id) == ["submitted", "assigned", "started", "completed"]
    assert (await handle.state()).status is Status.COMPLETED
    await far.die()
    await other.die()


class Mortal:
    """A log of whose appends the ``last``-th is one too many: whoever asks for it, or has had it, hangs."""

    def __init__(self, log, last: int, *, stored: bool) -> None:
        self._log = log
        self._left = last
        self._stored = stored
        self.over = asyncio.Event()

    def __getattr__(self, name: str):
        return getattr(self._log, name)

    async def append(self, write, **options) -> int:
        self._left -= 1
        if self._left >= 0 and not self.over.is_set():
            return await self._log.append(write, **options)
        if self._stored and not self.over.is_set():
            await self._log.append(write, **options)
        self.over.set()
        return await asyncio.Event().wait()


@pytest.mark.parametrize("caller_dies", [False, True], ids=["alone", "with the process"])
@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("last", [0, 1])
async def test_a_gate_may_die_at_any_append(stage, gate, monkeypatch, last, stored, caller_dies):
    """Before and after `started`, before and after `completed`: the task ends once, and no call is booked twice."""
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.2)
    await stage.register("far")
    await gate.die()
    doomed = stage.bus.join()
    doomed.log = mortal = Mortal(doomed.log, last, stored=stored)
    first = RunningGate(doomed, 2)
    await first.start()
    line = Silenced(stage.bus.join().signals)
    far = Beyond(line, "far", Answering(echo))
    handle = await stage.board.submit("x")
    await asyncio.wait_for(mortal.over.wait(), 5)
    line.dead = caller_dies
    await first.die()
    other = RunningGate(stage.bus.join(), 3)
    await other.start()
    second = Beyond(stage.bus.join().signals, "far", Answering(echo))
    assert (await handle.result(10)).output == "X"
    while far.caller._calls and not caller_dies:
        await asyncio.sleep(0.01)
    await stage.projector.reached(await stage.bus.log.end())
    told = await stage.history(handle.id)
    assert told.count("completed") == 1
    assert told.count("started") == 1 + told.count("interrupted")
    state = await handle.state()
    assert state.cost == 20 * (told.count("completed") + told.count("spent"))
    for each in (far, second, other):
        await each.die()


async def test_what_is_lost_on_the_way_is_said_again(stage, gate):
    """Any message may be lost, either way, and any may come twice."""
    await stage.register("far")

    dice = random.Random(1)

    class Lossy(Silenced):
        async def publish(self, subject, data, **options):
            times = dice.choice((0, 1, 2)) if subject.startswith(("gate.", "told.")) else 1
            for _ in range(times):
                await self._signals.publish(subject, data, **options)

    gate.bus.signals = Lossy(gate.bus.signals)
    provider = Answering(echo)
    far = Beyond(Lossy(stage.bus.join().signals), "far", provider)
    handles = [await stage.board.submit(f"{number}") for number in range(20)]
    await asyncio.gather(*(handle.result(20) for handle in handles))
    for handle in handles:
        assert (await stage.history(handle.id)).count("started") == 1
    assert len({request.call_id for request in provider.requests}) == len(provider.requests) == 20
    assert stage.projector.state(COST).total.cost == 20 * 20
    await far.die()
