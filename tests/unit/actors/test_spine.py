"""From a submission to its answer, through every actor, in memory."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.task_handle import TaskFailed
from callboard.events.backend import Breaker, Drained, Removed, Resumed, Scaled
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS


async def forever(_):
    await asyncio.Event().wait()


def failing(kind: FailureKind, times: int, text: str = "at last", **details):
    left = [times]

    async def answer(_):
        if left[0]:
            left[0] -= 1
            raise ProviderError(kind, f"scripted {kind}", **details)
        return text

    return answer


async def test_a_task_is_answered_and_booked(stage, say):
    """The answer comes back with what it cost, and the ledger holds it."""
    await stage.register("a")
    stage.work("a", say("hello world"))
    task = await stage.board.submit("hi")
    outcome = await task.result(5)
    assert (outcome.output, outcome.backend, outcome.cost) == ("hello world ", "a", 20)
    assert await stage.history(task.id) == ["submitted", "assigned", "started", "completed"]
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(COST).by_backend["a"].cost == 20
    assert not stage.projector.state(LOAD).backends["a"].outstanding


async def test_tokens_are_streamed(stage, say):
    """The pieces add up to the answer."""
    await stage.register("a")
    stage.work("a", say("one two three"))
    task = await stage.board.submit("count")
    assert "".join([token async for token in task.stream()]) == "one two three "


async def test_a_plain_message_is_enough(stage, say):
    """Anybody who publishes JSON with a reply subject gets the answer there."""
    await stage.register("a")
    stage.work("a", say("4"))
    (reply,) = await stage.ask({"input": "2+2"})
    assert (reply["status"], reply["output"]) == ("completed", "4 ")


async def test_a_receipt_comes_first_when_asked_for(stage, say):
    """With ``reply: accepted`` the first answer is the task's id."""
    await stage.register("a")
    stage.work("a", say("4"))
    receipt, outcome = await stage.ask({"input": "2+2", "reply": "accepted"}, replies=2)
    assert receipt == {"task": outcome["task"], "status": "submitted"}


async def test_tools_reach_the_model_and_its_calls_come_back(stage, say):
    """Tools go to a backend that offers tools; what the model wants called is in the answer, and is not called."""
    await stage.register("cheap", Price())
    stage.work("cheap", say("no"))
    await stage.register("able", capabilities=("chat", "tools"))
    stage.work("able", say("let me see"))
    tool = {"name": "now", "description": "The time.", "parameters": {"type": "object"}}
    outcome = await (await stage.board.submit("What time is it?", tools=[tool])).result(5)
    assert (outcome.backend, outcome.finish) == ("able", "tool_calls")
    assert [(call.name, call.arguments) for call in outcome.tool_calls] == [("now", "{}")]


async def test_a_large_prompt_reaches_the_model_whole(stage, say):
    """Over 64 KiB the event carries a reference, the model the text."""
    await stage.register("a", context=10**6)
    provider = stage.work("a", say("x"))
    task = await stage.board.submit("ä" * 100_000)
    await task.result(5)
    assert provider.requests[0].messages[0].content == "ä" * 100_000


async def test_a_key_makes_a_submission_idempotent(stage, say):
    """The same key is the same task, and its answer is given again."""
    await stage.register("a")
    provider = stage.work("a", say("x"))
    first = await stage.board.submit("x", key="order-7")
    await first.result(5)
    second = await stage.board.submit("x", key="order-7")
    assert second.id == first.id
    assert (await second.result(5)).output == "x "
    (reply,) = await stage.ask({"input": "x", "key": "order-7"})
    assert reply["task"] == first.id
    assert len(provider.requests) == 1


async def test_a_task_that_is_submitted_twice_at_a_time_is_told_to_both(stage, say):
    """By its key: the second waits for the same answer, and keeps the first from none."""
    handles = [await stage.board.submit("x", key="order-7") for _ in range(2)]
    await stage.register("a")
    stage.work("a", say("x"))
    assert [(await handle.result(5)).output for handle in handles] == ["x "] * 2


async def test_a_failed_call_goes_to_another_backend(stage, say):
    """The cheaper one fails, the other answers; the failure stays in the history."""
    await stage.register("a", Price(1, 1))
    await stage.register("b")
    stage.work("a", failing(FailureKind.UNAVAILABLE, 99))
    stage.work("b", say("from b"))
    outcome = await (task := await stage.board.submit("x")).result(5)
    assert outcome.backend == "b"
    assert await stage.history(task.id) == [
        "submitted", "assigned", "started", "failed", "assigned", "started", "completed",
    ]  # fmt: skip


async def test_the_only_backend_is_tried_again_after_a_pause(stage):
    """With nobody else to ask, a task waits and tries again."""
    await stage.register("a")
    stage.work("a", failing(FailureKind.TIMEOUT, 1))
    outcome = await (task := await stage.board.submit("x")).result(5)
    assert outcome.output == "at last "
    assert "parked" in await stage.history(task.id)


async def test_a_refused_request_is_given_up_at_once(stage):
    """What the only backend calls invalid is not sent again."""
    await stage.register("a")
    provider = stage.work("a", failing(FailureKind.INVALID, 99))
    with pytest.raises(TaskFailed, match="dead: no backend can do this: a refused this task as invalid"):
        await (await stage.board.submit("x")).result(5)
    assert len(provider.requests) == 1


async def test_a_dead_letter_can_be_requeued(stage):
    """After three tries it is a dead letter; requeued, it is answered."""
    await stage.register("a")
    stage.work("a", failing(FailureKind.MALFORMED, 3))
    task = await stage.board.submit("x")
    with pytest.raises(TaskFailed, match="gave up after 3 tries; the last one: scripted malformed"):
        await task.result(10)
    await task.requeue()
    again = await stage.board.task(task.id)
    assert (await again.result(5)).output == "at last "


async def test_retry_after_is_honoured(stage):
    """A rate-limited backend is left alone for as long as it asked, and the task is not counted as tried."""
    await stage.register("a")
    stage.work("a", failing(FailureKind.RATE_LIMITED, 1, retry_after_ns=300_000_000))
    began = asyncio.get_running_loop().time()
    task = await stage.board.submit("x")
    await task.result(5)
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert (await task.state()).tries == 0


async def test_a_breaker_opens_and_closes(stage, monkeypatch):
    """Five failures in a row open it, a good call after the pause closes it."""
    monkeypatch.setattr("callboard.actors.backend.breaker.PAUSE_S", 0.2)
    await stage.register("a", concurrency=1)
    stage.work("a", failing(FailureKind.UNAVAILABLE, 5))
    tasks = [await stage.board.submit("x") for _ in range(5)]
    seen = set()
    stage.projector.watch(lambda _seq, e: seen.add(e.type) if e.kind == "backend" else None)
    for task in tasks:
        await task.result(10)
    await stage.projector.reached(await stage.bus.log.end())
    assert {"callboard.backend.opened.v1", "callboard.backend.half_opened.v1", "callboard.backend.closed.v1"} <= seen
    assert stage.projector.state(BACKENDS).by_id["a"].breaker is Breaker.CLOSED


async def test_cancelling_stops_the_call_and_books_it(stage):
    """The provider's connection is closed, and the money spent so far is in the ledger as wasted."""
    await stage.register("a")
    provider = stage.work("a", forever)
    task = await stage.board.submit("x")
    while not provider.requests:
        await asyncio.sleep(0.01)
    outcome = await task.cancel("enough")
    assert (outcome.status, outcome.reason) == (Status.CANCELLED, "enough")
    while "spent" not in await stage.history(task.id):
        await asyncio.sleep(0.01)
    assert provider.closed_early == 1
    await stage.projector.reached(await stage.bus.log.end())
    cost = stage.projector.state(COST)
    assert cost.total.wasted == cost.total.cost > 0
    assert not cost.unknown


async def test_a_deadline_ends_a_running_call(stage):
    """At its deadline a task expires, and its call is stopped."""
    await stage.register("a")
    provider = stage.work("a", forever)
    task = await stage.board.submit("x", timeout_s=0.3)
    with pytest.raises(TaskFailed, match="expired"):
        await task.result(5)
    while not provider.closed_early:
        await asyncio.sleep(0.01)


async def test_a_delayed_task_waits(stage, say):
    """It is parked until its time has come."""
    await stage.register("a")
    stage.work("a", say("x"))
    not_before = datetime.now(UTC) + timedelta(seconds=0.3)
    task = await stage.board.submit("x", not_before=not_before.isoformat())
    await task.result(5)
    assert datetime.now(UTC) >= not_before


async def test_tasks_wait_for_a_backend(stage, say):
    """With none registered they are parked, and wake when one is."""
    task = await stage.board.submit("x")
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    await stage.register("a")
    stage.work("a", say("x"))
    assert (await task.result(5)).backend == "a"


@pytest.mark.parametrize(("out", "back"), [(Drained(), Resumed()), (Scaled(0), Scaled(1))])
async def test_a_backend_out_of_service_gets_nothing(stage, say, out, back):
    """A draining backend, or one scaled to 0, gets no work until it is back."""
    await stage.register("a")
    stage.work("a", say("x"))
    await stage.change("a", out)
    task = await stage.board.submit("x")
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    await stage.change("a", back)
    assert (await task.result(5)).backend == "a"


@pytest.mark.parametrize("end", [Removed(), Scaled(0)])
async def test_tasks_of_a_backend_without_workers_go_elsewhere(stage, say, end):
    """What was assigned to one that is removed, or scaled to 0, and not begun is released."""
    await stage.register("a")
    task = await stage.board.submit("x")
    while (await task.state()).status is not Status.ASSIGNED:
        await asyncio.sleep(0.01)
    await stage.register("b")
    stage.work("b", say("from b"))
    await stage.change("a", end)
    assert (await task.result(5)).backend == "b"


async def test_two_workers_share_the_work(stage, say):
    """Each task is done once, whoever takes it."""
    await stage.register("a", concurrency=2)
    first, second = stage.work("a", say("x"), 0), stage.work("a", say("x"), 1)
    tasks = [await stage.board.submit("x") for _ in range(50)]
    for task in tasks:
        await task.result(5)
    assert len(first.requests) + len(second.requests) == 50


async def test_what_waits_goes_by_priority(stage):
    """With one call at a time: the highest priority is next, and among equals the one that came first."""
    done, gate = [], asyncio.Event()

    async def answer(request):
        done.append(request.messages[-1].content)
        await gate.wait()
        return "x"

    await stage.register("a", concurrency=1)
    stage.work("a", answer)
    first = await stage.board.submit("running")
    while not done:
        await asyncio.sleep(0.01)
    asked = (("low", 0), ("high", 9), ("middle", 5), ("low too", 0), ("high too", 9))
    tasks = [await stage.board.submit(text, priority=priority) for text, priority in asked]
    await asyncio.sleep(0.1)
    gate.set()
    for task in (first, *tasks):
        await task.result(5)
    assert done == ["running", "high", "high too", "middle", "low", "low too"]


async def test_an_answer_is_judged(stage, say):
    """A score is kept with the task and shown in its row; what has no answer can't be judged."""
    await stage.register("a")
    stage.work("a", say("x"))
    task = await stage.board.submit("x")
    await task.result(5)
    await task.evaluate(0.25, note="too short")
    assert (await task.state()).scores == {"user": 250_000}
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(TASKS).ended.get(task.id).score == 250_000
    waiting = await stage.board.submit("x", delay_s=60)
    with pytest.raises(IllegalTransition, match="there is no answer to judge"):
        await waiting.evaluate(1.0)
    with pytest.raises(InvalidInput, match="from 0 to 1, got 2"):
        await task.evaluate(2)


async def test_judgements_change_where_tasks_go(stage, say):
    """With `best`, what was judged worse at this kind of task gets no more of it."""
    await stage.register("cheap", Price(), tier="medium")
    await stage.register("dear", tier="medium")
    for name in ("cheap", "dear"):
        stage.work(name, say(name))
    asked = {"policy": "best", "tags": ["sums"]}
    first = await (await stage.board.submit("add 2 and 3", **asked)).result(5)
    assert first.backend == "cheap", "equals are told apart by their price"
    await (await stage.board.task(first.task)).evaluate(0.0, source="test")
    await stage.projector.reached(await stage.bus.log.end())
    assert (await (await stage.board.submit("add 7 and 8", **asked)).result(5)).backend == "dear"


async def test_a_restart_goes_on_where_it_stopped(stage):
    """A worker that vanished in the middle of a call leaves it to the next one, and the call is marked."""
    await stage.register("a")
    first = stage.work("a", forever)
    task = await stage.board.submit("x")
    while not first.requests:
        await asyncio.sleep(0.01)
    stage._running[-1].cancel()

    async def answer(_):
        return "second"

    stage.work("a", answer, 1)
    assert (await task.result(10)).output == "second "
    assert await stage.history(task.id) == [
        "submitted", "assigned", "started", "interrupted", "started", "completed",
    ]  # fmt: skip
