"""Backends beyond the gate: they do all that others do, by nothing but the calls that they are handed."""

import asyncio

import pytest
from msgspec.structs import replace
from servers.callable_models import Answering, answering, echoes
from servers.gates import Beyond, hasty_gate, settled

from callboard.actors.backend.providers.provider import FailureKind, ProviderError, Request
from callboard.actors.checks import Check
from callboard.actors.claim_check import INLINE
from callboard.actors.discretion import is_discreet
from callboard.actors.gate.parts import messages
from callboard.actors.gate.words import Make, Settled, Stop, Welcome
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.hedger import Hedger
from callboard.actors.router.policies.registry import policies
from callboard.bus.subjects import told
from callboard.events.backend import Priced
from callboard.events.chat import Message
from callboard.events.money import Price


@pytest.fixture
async def gate(stage, monkeypatch):
    """A gate that notices soon."""
    async with hasty_gate(stage.bus.join(), monkeypatch) as running:
        yield running


async def test_a_task_is_done_by_a_process_beyond_the_gate(stage, gate):
    """Its history is as any other's; the text is streamed, and the cost is that of the tokens."""
    await stage.register("far")
    far = Beyond(stage.bus.join().signals, "far", Answering(echoes))
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
    far = Beyond(stage.bus.join().signals, "far", Answering(echoes))
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

    far = Beyond(stage.bus.join().signals, "far", Greedy(echoes))
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
    far = Beyond(stage.bus.join().signals, "far", Answering(echoes))
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
    history = await stage.history(handle.id)
    assert history[:5] == ["submitted", "assigned", "started", "answered", "declined"]
    await far.die()


async def test_an_answer_that_is_told_again_while_it_is_verified_is_verified_once(stage, gate):
    """The worker that waits for it is telling the log already."""
    asked = []

    async def slowly(answer):
        asked.append(answer)
        await asyncio.sleep(0.5)
        return True

    checks = {"slow": Check(700_000, slowly)}
    stage.route(replace(stage.rules, policies=policies(fallback="cheapest"), cascade=CascadeRules(checks=checks)))
    gate.checks.update(checks)
    await stage.register("far")
    far = Beyond(stage.bus.join().signals, "far", Answering(echoes))
    handle = await stage.board.submit("x", policy="cascade", check="slow")
    await handle.result(5)
    assert asked == ["X"]
    assert (await stage.history(handle.id))[-2:] == ["completed", "evaluated"]
    await far.die()


async def test_a_call_is_made_once_however_often_it_is_handed_out(stage):
    """Also when it is settled."""
    signals, heard = stage.bus.join().signals, asyncio.Queue()

    async def hear(note):
        heard.put_nowait(note.data)

    await signals.subscribe("gate.far.>", hear)
    provider = Answering(echoes)
    far = Beyond(stage.bus.join().signals, "far", provider)
    await asyncio.wait_for(heard.get(), 5)
    make = Make(Request((Message("user", "x"),), call_id="t-1"))
    for word in (
        Welcome("g"),
        make,
        make,
        Settled("t-1"),
        make,
        Stop("t-2"),
        Make(replace(make.request, call_id="t-2")),
    ):
        for message in messages(word):
            await signals.publish(told("far", far.caller.id), message)
        await asyncio.sleep(0.02)
    assert [request.call_id for request in provider.requests] == ["t-1"]
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
    provider = Answering(echoes)
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
    provider = Answering(echoes)
    far = Beyond(stage.bus.join().signals, "far", provider)
    outcome = await handle.result(5)
    history = await stage.history(handle.id)
    assert history == ["submitted", "assigned", "released", "assigned", "started", "completed"]
    assert len(provider.requests) == 1
    assert outcome.cost == 135
    await far.die()


async def test_what_is_private_is_opened_for_the_call_alone(stage, gate):
    """The backend gets the prompt, and no word of whom it is about; the log gets the answer sealed."""
    await stage.register("far")
    discreet = []

    async def say(request):
        discreet.append(is_discreet())
        return await echoes(request)

    provider = Answering(say)
    far = Beyond(stage.bus.join().signals, "far", provider)
    await far.at_work()
    await (await stage.board.submit("no secret")).result(5)
    handle = await stage.board.submit("my secret", private="ann")
    assert (await handle.result(5)).output == "MY SECRET"
    assert discreet == [False, True], "log lines beyond the gate may quote what is not private"
    assert "ann" not in str(provider.requests)
    records = [r async for batch in stage.bus.log.read_all() for r in batch]
    assert not any(b"my secret" in r.data.lower() for r in records)
    await far.die()
