"""A what-if on the log of real actors: the same rules again come out the same, and each change does what it says."""

import asyncio
from collections import Counter

import pytest
from servers.routers import routers

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.replay.changes import Changes
from callboard.actors.replay.what_if import what_if
from callboard.actors.router.ceiling import hold_for
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.task_handle import TaskFailed
from callboard.events.errors import InvalidInput
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.events.task_spec import TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.load import BackendLoad

CHEAP, DEAR = Price(1_000_000, 2_000_000), Price(10_000_000, 20_000_000)


class OnlyReads:
    """A log of which nothing else is there."""

    def __init__(self, log):
        self.read_all, self.end = log.read_all, log.end


def rules_at(default="cheapest"):
    def at(pace):
        return Rules(policies(pace=pace or 0), default=default, max_attempts=3)

    return at


async def fleet(stage, say, *names):
    for number, name in enumerate(names or ("cheap", "dear")):
        await stage.register(name, DEAR if number else CHEAP, tier="frontier" if number else "small")
        stage.work(name, say("yes"))


async def done(stage, count=1, **fields):
    """So many tasks, one after another, each scored."""
    for number in range(count):
        task = await stage.board.submit(f"what is {number}", **fields)
        await task.result()
        await task.evaluate(0.25 if (await task.state()).backend == "cheap" else 0.75)


async def asked(stage, default="cheapest", **changes):
    await stage.projector.reached(await stage.bus.log.end())
    return await what_if(OnlyReads(stage.bus.log), Changes(**changes), rules_at(default))


def went(report):
    return {(one.before, one.after): one.decisions for one in report.moved}


async def test_the_same_rules_again(stage, say):
    """On a quiet log every decision comes out identical, and another policy moves them all."""
    await fleet(stage, say)
    await done(stage, 12)
    report = await asked(stage, policy="best")
    assert (report.faithful.decisions, report.faithful.identical, report.faithful.reasons) == (12, 12, {})
    assert went(report) == {("cheap", "dear"): 12}
    assert (report.elsewhere, report.units, report.open) == (12, 12, 0)
    [quality, cost, latency] = report.metrics
    assert (quality.observed, cost.observed) == (0.25, 20)
    assert latency.observed > 0
    assert quality.answer is None
    assert quality.silent.startswith("only 12 of 12 decisions")


async def test_at_once(stage, say):
    """Decisions that were made before the router saw its own last ones are made on what it had assigned itself."""
    for name in ("a", "b", "c"):
        await stage.register(name, CHEAP)
        stage.work(name, say("yes"))
    stage.route(Rules(policies(), default="balanced"))
    tasks = await asyncio.gather(*(stage.board.submit(f"task {number}") for number in range(60)))
    await asyncio.gather(*(task.result() for task in tasks))
    report = await asked(stage, "balanced", policy="fastest")
    assert report.faithful.decisions == 60
    assert report.faithful.identical >= 54, report.faithful.reasons


async def test_several_routers(say):
    """Each is replayed on its own view, and propensities are those of the better of two."""
    async with routers(3, "balanced") as company:
        for name in "abcd":
            await company.register(name)
            await company.hire(name, _Says())
        for number in range(30):
            await company.settled()
            task = await company.board.submit(f"task {number}")
            await task.result()
        await company.settled()
        report = await what_if(company.bus.log, Changes(policy="cheapest"), rules_at("balanced"))
    assert report.faithful.decisions == 30
    assert report.faithful.identical == 30, report.faithful.reasons


class _Says:
    async def stream(self, request):
        from callboard.actors.backend.providers.provider import Answer
        from callboard.events.chat import Usage

        yield Answer("yes", Usage(10, 5), "stop", "scripted")

    async def aclose(self):
        pass


async def test_other_prices(stage, say):
    """Decisions go by them, and what was paid is counted at them."""
    await fleet(stage, say)
    await done(stage, 4)
    report = await asked(stage, prices={"dear": Price(100_000, 200_000)})
    assert went(report) == {("cheap", "dear"): 4}
    report = await asked(stage, prices={"cheap": Price(3_000_000, 6_000_000)})
    assert (report.elsewhere, report.faithful.identical) == (0, 4)
    cost = next(one for one in report.metrics if one.name == "cost")
    assert cost.observed == 20
    assert {each.value.value for each in cost.estimates} == {60}
    assert {each.difference.value for each in cost.estimates} == {40}


async def test_without_a_backend(stage, say):
    """It is as if it was never there; what was pinned to it would go to nobody."""
    await fleet(stage, say)
    await done(stage, 3)
    await done(stage, 2, backend="cheap")
    report = await asked(stage, without=frozenset({"cheap"}))
    assert went(report) == {("cheap", "dear"): 3, ("cheap", ""): 2}
    assert (report.units, report.unplaced) == (3, 2)


async def test_a_pace(stage, say):
    """Adaptive at a pace spends no more than it; what it did without one is replayed without one."""
    await fleet(stage, say)
    stage.route(Rules(policies(quality=1000), default="adaptive"))
    await done(stage, 20)
    report = await what_if(
        stage.bus.log,
        Changes(pace=25),
        lambda pace: Rules(policies(quality=1000, pace=pace or 0), default="adaptive"),
    )
    assert report.faithful.identical == 20, report.faithful.reasons
    to = Counter()
    for one in report.moved:
        to[one.after] += one.decisions
    assert to["cheap"] > 15


async def test_a_retry_counts_as_what_came_of_the_first_decision(stage, say):
    """A task has one outcome: what all its calls cost, and its answer; its decisions are all made again."""
    fails = iter([True])

    async def once(_):
        if next(fails, False):
            raise ProviderError(FailureKind.UNAVAILABLE, "down")
        return "yes"

    await stage.register("only", CHEAP)
    stage.work("only", once)
    task = await stage.board.submit("x")
    await task.result()
    report = await asked(stage, policy="best")
    assert (report.faithful.decisions, report.faithful.identical) == (2, 2), report.faithful.reasons
    assert report.units == 1
    assert next(one.observed for one in report.metrics if one.name == "latency") > 400_000_000, "the pause counts"


async def test_a_cascade_counts_up_to_its_first_answer(stage, say):
    """The mark of the check is its score; what it went on to try is not counted."""
    answers = {"cheap": "no JSON", "dear": "{}"}
    for name, price in {"cheap": CHEAP, "dear": DEAR}.items():
        tier = "frontier" if name == "dear" else "small"
        await stage.register(name, price, tier=tier, capabilities=("chat", "schema"))
        stage.work(name, say(answers[name]))
    task = await stage.board.submit("x", policy="cascade", schema={"type": "object"})
    assert (await task.result()).calls == 2
    report = await asked(stage, policy="best")
    assert (report.faithful.decisions, report.faithful.identical) == (2, 2), report.faithful.reasons
    assert went(report) == {("cheap", "cheap"): 1, ("dear", "dear"): 1}
    [quality, cost, _] = report.metrics
    assert (report.units, quality.observed, cost.observed) == (1, 0, 20)


@pytest.mark.parametrize("on_breach", ["stop", "ask"])
async def test_a_higher_limit(stage, say, on_breach):
    """Who was stopped, or waited for somebody to raise it, would have been placed, and spent more."""
    await fleet(stage, say)
    await stage.board.set_budget("team", limit=5, on_breach=on_breach)
    task = await stage.board.submit("x", budget="team")
    while (await task.state()).status not in {Status.PARKED, Status.DEAD}:
        await asyncio.sleep(0.01)
    report = await asked(stage, budgets={"team": 100_000})
    assert (report.freed, report.spent["team"] > 5) == (1, on_breach == "stop")
    assert (await asked(stage, budgets={"team": 4})).freed == 0
    assert (await asked(stage, policy="best")).freed == 0


async def test_what_was_refused_is_refused_again(stage, say):
    """For want of a backend that can; without a change that helps, nobody is freed."""
    await fleet(stage, say)
    task = await stage.board.submit("x", needs={"capabilities": ["tools"]})
    with pytest.raises(TaskFailed):
        await task.result()
    report = await asked(stage, policy="best")
    assert (report.faithful.refusals, report.faithful.alike, report.freed) == (1, 1, 0)


async def test_agent_without_advice(stage, say):
    """Nobody was asked, so its fallback decides, and that is said."""
    await fleet(stage, say)
    await done(stage, 2)
    report = await asked(stage, policy="agent")
    assert "fallback" in report.notes[-1]
    assert report.decisions == 2


async def test_no_change_of_what_a_task_asks_for(stage, say):
    """A task that names its policy keeps it."""
    await fleet(stage, say)
    await done(stage, 2, policy="best")
    report = await asked(stage, policy="cheapest")
    assert went(report) == {("dear", "dear"): 2}


@pytest.mark.parametrize(("on_breach", "told"), [("stop", "stopped"), ("ask", "asked"), ("degrade", "degraded")])
async def test_another_limit(stage, say, on_breach, told):
    """What would have been stopped, asked about or given to a cheaper backend; the rest is as it was."""
    await fleet(stage, say)
    await stage.board.set_budget("team", limit=1_000_000, on_breach=on_breach)
    await done(stage, 6, budget="team", policy="best", max_tokens=5)
    spec = TaskSpec(input="what is 0", max_tokens=5)
    backend = stage.projector.state(BACKENDS).by_id["dear"]
    ceiling = hold_for(spec, backend, BackendLoad(), "team").amount
    report = await asked(stage, budgets={"team": ceiling + 350})
    assert report.faithful.identical == 6, report.faithful.reasons
    assert 0 < report.budgets[told] < 6, report.budgets
    assert report.spent["team"] <= ceiling + 350
    assert went(report)["dear", "dear"] == 6 - report.budgets[told]
    report = await asked(stage, budgets={"team": 900_000})
    assert went(report) == {("dear", "dear"): 6}
    assert (sum(report.budgets.values()), report.spent["team"]) == (0, 6 * 200)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": "cheepest"}, "unknown policy 'cheepest'; did you mean 'cheapest'"),
        ({"without": frozenset({"chep"})}, "unknown backend 'chep'; did you mean 'cheap'"),
        ({"prices": {"deer": CHEAP}}, "unknown backend 'deer'; did you mean 'dear'"),
        ({"pace": 5}, "pace means nothing to policy 'cheapest'"),
        ({"budgets": {"teem": 5}}, "unknown budget 'teem'; did you mean 'team'"),
        ({"prices": {"cheap": DEAR}, "without": frozenset({"cheap"})}, "has a price and is left out"),
    ],
)
async def test_what_is_not_there(stage, say, changes, told):
    """One line says what, and what was probably meant."""
    await fleet(stage, say)
    await stage.board.set_budget("team", limit=100)
    with pytest.raises(InvalidInput, match=told):
        await asked(stage, **changes)


async def test_a_replay_that_is_not_faithful_gives_no_figures(stage, say):
    """What other settings would have done says nothing of what the log's did."""
    await fleet(stage, say)
    stage.route(Rules(policies(second=0, quality=1), default="balanced"))
    await done(stage, 3)
    report = await what_if(
        stage.bus.log, Changes(policy="best"), lambda _: Rules(policies(second=0, quality=10**6), default="balanced")
    )
    assert all("by the same rules" in one.silent and one.answer is None for one in report.metrics)


async def test_an_empty_log(stage):
    """There is nothing to say, and that is said."""
    report = await asked(stage, policy="best")
    assert (report.decisions, report.units) == (0, 0)
    assert all(one.answer is None and one.silent for one in report.metrics)


async def test_up_to_a_sequence(stage, say):
    """The log as it was."""
    await fleet(stage, say)
    await done(stage, 2)
    end = await stage.bus.log.end()
    await done(stage, 2)
    report = await what_if(stage.bus.log, Changes(policy="best"), rules_at(), upto=end)
    assert (report.upto, report.faithful.decisions) == (end, 2)


async def test_other_settings_are_told(stage, say):
    """Decisions that come out otherwise say why: here another price of quality is set by now."""
    await fleet(stage, say)
    stage.route(Rules(policies(second=0, quality=1), default="balanced"))
    await done(stage, 3)
    report = await what_if(
        stage.bus.log, Changes(policy="best"), lambda _: Rules(policies(second=0, quality=10**6), default="balanced")
    )
    assert report.faithful.identical == 0
    assert report.faithful.reasons == {"another backend is chosen, by other settings": 3}
    renamed = {name: policy for name, policy in policies().items() if name != "balanced"}
    report = await what_if(stage.bus.log, Changes(policy="best"), lambda _: Rules(renamed, default="best"))
    assert report.faithful.reasons == {"policy balanced/1 is not here": 3}
