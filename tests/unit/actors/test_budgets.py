"""Tasks with budgets, through every actor, in memory."""

import asyncio

import pytest

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.router import treasurer
from callboard.actors.router.ceiling import hold_for
from callboard.actors.task_handle import TaskFailed
from callboard.events.backend import Priced
from callboard.events.errors import InvalidInput
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.events.task_spec import TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.load import BackendLoad

COST = 20
"""What each scripted call costs: 10 tokens in, 5 out."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Idle leases are given back at once, and old ones soon taken."""
    monkeypatch.setattr(treasurer, "IDLE_S", 0.05)
    monkeypatch.setattr(treasurer, "OTHERS_IDLE_S", 0.05)
    monkeypatch.setattr("callboard.actors.router.money.TICK_S", 0.05)


async def until(stage, so, name="team"):
    """The budget, when it is so."""
    while True:
        await stage.projector.reached(await stage.bus.log.end())
        found = stage.projector.state(BUDGETS).by_id[name]
        if so(found):
            return found
        await asyncio.sleep(0.02)


async def money(stage, name):
    """The budget when nothing is held any more."""
    return await until(stage, lambda budget: not budget.held, name)


async def parked(task):
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    return (await task.state()).parked


def ceiling(stage, backend: str, text: str = "x", **fields) -> int:
    return hold_for(
        TaskSpec(input=text, **fields), stage.projector.state(BACKENDS).by_id[backend], BackendLoad(), "b"
    ).amount


async def test_a_task_is_paid_from_its_budget_and_from_those_above(stage, say):
    """What it cost is settled at every level, and the rest is back."""
    await stage.register("a")
    stage.work("a", say("hello"))
    await stage.board.set_budget("org", limit=100_000)
    await stage.board.set_budget("team", limit=10_000, parent="org")
    for _ in range(3):
        await (await stage.board.submit("x", budget="team")).result(5)
    team, org = await money(stage, "team"), await money(stage, "org")
    assert (team.settled, team.left, org.settled, org.left) == (60, 9_940, 60, 99_940)
    assert not stage.projector.state(BUDGETS).leases


async def test_the_model_is_held_to_what_the_money_allows(stage, say):
    """The assignment records the hold, and its output cap goes to the provider; without a budget there is none."""
    await stage.register("a")
    provider = stage.work("a", say("hello"))
    await stage.board.set_budget("team", limit=100_000)
    free, paid = await stage.board.submit("x"), await stage.board.submit("x", budget="team")
    for task in (free, paid):
        await task.result(5)
    hold = (await paid.state()).hold
    assert (await free.state()).hold is None
    assert hold.amount == ceiling(stage, "a") >= Price(1_000_000, 2_000_000).ceiling(hold.input, hold.output)
    assert sorted(request.max_tokens or 0 for request in provider.requests) == [0, hold.output]


async def test_a_breach_stops_the_task(stage, say):
    """With ``stop`` it is a dead letter that says what is left, what is needed and what to do; then it is requeued."""
    await stage.register("a")
    stage.work("a", say("hello"))
    await stage.board.set_budget("team", limit=ceiling(stage, "a", max_tokens=9), on_breach="stop")
    await (await stage.board.submit("x", budget="team", max_tokens=9)).result(5)
    task = await stage.board.submit("x", budget="team", max_tokens=9)
    with pytest.raises(TaskFailed, match=r"team has 0.\d+usd left and 0.\d+usd may be needed: .* --limit 0.\d+usd"):
        await task.result(5)
    assert (await money(stage, "team")).breached
    enough = (await task.state()).reason.split("--limit ")[1].split("usd")[0]
    await stage.board.set_budget("team", limit=round(float(enough) * 1e6))
    await task.requeue()
    await (await stage.board.task(task.id)).result(5)
    assert (await money(stage, "team")).settled == 2 * COST
    assert not (await money(stage, "team")).breached


async def test_a_breach_asks_and_goes_on_when_the_limit_is_raised(stage, say):
    """With ``ask`` tasks wait, one event tells of the breach, and all wake by themselves when there is money."""
    await stage.register("a")
    stage.work("a", say("hello"))
    need = ceiling(stage, "a")
    await stage.board.set_budget("team", limit=need - 1, on_breach="ask")
    tasks = [await stage.board.submit("x", budget="team") for _ in range(3)]
    for task in tasks:
        waits = await parked(task)
        assert waits.breach
        assert "callboard budget set team --limit" in waits.reason
    await stage.board.set_budget("team", limit=10 * need)
    for task in tasks:
        await task.result(5)
    assert (await money(stage, "team")).settled == 3 * COST
    kinds = await stage.events("budget", "team")
    assert kinds.count("breached") == 1


async def test_a_breach_degrades_to_what_still_fits(stage, say):
    """With ``degrade`` a cheaper backend does it, and the decision says why not the other; if none fits, it asks."""
    await stage.register("best", Price(10_000_000, 20_000_000), tier="frontier")
    await stage.register("plain", Price(100_000, 200_000), tier="small")
    for name in ("best", "plain"):
        stage.work(name, say(name))
    await stage.board.set_budget("team", limit=ceiling(stage, "best") - 1, on_breach="degrade")
    task = await stage.board.submit("x", budget="team", policy="best")
    assert (await task.result(5)).backend == "plain"
    history = await stage.envelopes("task", task.id)
    decision = next(e.event.decision for e in history if e.type == "callboard.task.assigned.v2")
    assert "over what budget team has left" in {c.backend: c.excluded for c in decision.candidates}["best"]
    await stage.board.set_budget("team", limit=5)
    waiting = await stage.board.submit("x", budget="team", policy="best")
    assert (await parked(waiting)).breach


async def test_money_that_is_held_is_waited_for(stage, say):
    """A budget for one call at a time does one after another, and nobody calls it a breach, not even with ``stop``."""
    await stage.register("a")
    stage.work("a", say("hello"))
    await stage.board.set_budget("team", limit=ceiling(stage, "a") + 4 * COST, on_breach="stop")
    tasks = [await stage.board.submit("x", budget="team") for _ in range(5)]
    for task in tasks:
        await task.result(10)
    assert (await money(stage, "team")).settled == 5 * COST
    assert "breached" not in await stage.events("budget", "team")


async def test_the_parent_may_be_what_falls_short(stage, say):
    """Its own rule counts then, and it is named."""
    await stage.register("a")
    stage.work("a", say("hello"))
    await stage.board.set_budget("org", limit=5, on_breach="ask")
    await stage.board.set_budget("team", limit=10**6, parent="org", on_breach="stop")
    task = await stage.board.submit("x", budget="team")
    assert "budget org (which team is part of) has 0.000005usd left" in (await parked(task)).reason
    assert (await money(stage, "org")).breached


async def test_an_interrupted_call_keeps_its_money_and_the_next_has_its_own(stage, say):
    """The worker gives the task back; what the lost call cost is not known, so what was held for it stays held."""
    await stage.register("a")

    async def forever(_):
        await asyncio.Event().wait()

    first = stage.work("a", forever)
    need = ceiling(stage, "a")
    await stage.board.set_budget("team", limit=10 * need)
    task = await stage.board.submit("x", budget="team")
    while not first.requests:
        await asyncio.sleep(0.01)
    stage._running[-1].cancel()
    stage.work("a", say("second"), 1)
    await task.result(10)
    assert await stage.events("task", task.id) == [
        "submitted", "assigned", "started", "interrupted", "released", "assigned", "started", "completed",
    ]  # fmt: skip
    await until(stage, lambda team: team.held == need)
    await stage.board.tell_cost(task.id, 1, 7)
    assert (await money(stage, "team")).settled == COST + 7


async def test_after_a_long_time_an_untold_call_is_taken_to_have_cost_its_hold(stage, monkeypatch):
    """Nothing is held for it any more; should its cost be told after all, that counts."""
    stage.forged = True  # time is made to pass
    await stage.register("a")

    async def forever(_):
        await asyncio.Event().wait()

    provider = stage.work("a", forever)
    need = ceiling(stage, "a")
    await stage.board.set_budget("team", limit=10 * need)
    task = await stage.board.submit("x", budget="team")
    while not provider.requests:
        await asyncio.sleep(0.01)
    stage._running[-1].cancel()
    await asyncio.sleep(0.01)
    await task.cancel()
    await until(stage, lambda team: team.held == need)
    monkeypatch.setattr(treasurer, "UNTOLD_S", 0.0)
    assert (await money(stage, "team")).settled == need
    await stage.board.tell_cost(task.id, 1, 7)
    await until(stage, lambda team: team.settled == 7)


async def test_what_a_failed_call_cost_counts(stage, say):
    """Each call of a task is paid."""
    from callboard.events.chat import Usage

    await stage.register("a")
    left = [1]

    async def answer(_):
        if left[0]:
            left[0] -= 1
            raise ProviderError(FailureKind.UNAVAILABLE, "half-way", usage=Usage(3, 1))
        return "x"

    stage.work("a", answer)
    await stage.board.set_budget("team", limit=10**6)
    await (await stage.board.submit("x", budget="team")).result(5)
    assert (await money(stage, "team")).settled == COST + 5


async def test_a_cancelled_task_gives_its_money_back(stage):
    """Nobody works on it, so it cost nothing."""
    await stage.register("a")
    await stage.board.set_budget("team", limit=10**6)
    task = await stage.board.submit("x", budget="team")
    while (await task.state()).status is not Status.ASSIGNED:
        await asyncio.sleep(0.01)
    await task.cancel()
    assert (await money(stage, "team")).settled == 0


async def test_a_price_that_went_up_is_decided_on_anew(stage, say):
    """An assignment whose money does not cover today's price is given back before the call."""
    await stage.register("a")
    await stage.board.set_budget("team", limit=10**6)
    task = await stage.board.submit("x", budget="team")
    while (await task.state()).status is not Status.ASSIGNED:
        await asyncio.sleep(0.01)
    await stage.change("a", Priced(Price(2_000_000, 4_000_000)))
    stage.work("a", say("hello"))
    outcome = await task.result(5)
    assert outcome.cost == 2 * COST
    assert "released" in await stage.events("task", task.id)
    assert (await money(stage, "team")).settled == 2 * COST


async def test_what_is_free_needs_no_money(stage, say):
    """A budget that is empty lets a free call through."""
    await stage.register("a", Price())
    stage.work("a", say("hello"))
    await stage.board.set_budget("team", limit=0)
    assert (await (await stage.board.submit("x", budget="team")).result(5)).cost == 0


async def test_unknown_budgets_are_refused_when_submitted(stage):
    """With a guess what was meant."""
    await stage.board.set_budget("research", limit=5)
    with pytest.raises(InvalidInput, match="unknown budget 'reserch'; did you mean 'research'"):
        await stage.board.submit("x", budget="reserch")
    (reply,) = await stage.ask({"input": "x", "budget": "other"})
    assert (reply["status"], reply["reason"][:39]) == ("rejected", "unknown budget 'other' (known: research")


async def test_budgets_form_a_tree(stage):
    """Cycles, unknown parents and new budgets without a limit are refused in one line each."""
    board = stage.board
    await board.set_budget("org", limit=5)
    await board.set_budget("team", limit=5, parent="org")
    with pytest.raises(InvalidInput, match="'org' can't be part of 'team': that is part of 'org' itself"):
        await board.set_budget("org", parent="team")
    with pytest.raises(InvalidInput, match="'org' can't be part of 'org'"):
        await board.set_budget("org", parent="org")
    with pytest.raises(InvalidInput, match="'x' can't be part of 'orc', an unknown budget; did you mean 'org'"):
        await board.set_budget("x", limit=5, parent="orc")
    with pytest.raises(InvalidInput, match="'new' is new: give it a limit"):
        await board.set_budget("new")
    assert (await board.set_budget("team", parent="")).parent is None
