"""Cheap first, verified, a better one when the answer is found wanting: through every actor, in memory."""

import asyncio
import json
from collections import Counter

import pytest
from msgspec.structs import replace

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.checks import BUILT_IN, Check
from callboard.actors.projector import Projector
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.router import Router
from callboard.actors.task_handle import TaskFailed
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity, parse
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS
from callboard.projections.cost import COST
from callboard.projections.learning import LEARNING
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD
from callboard.projections.tasks import TASKS

CHEAP, MIDDLE, DEAR = Price(100_000, 100_000), Price(1_000_000, 2_000_000), Price(10_000_000, 20_000_000)


def graded(answer: str) -> float:
    """The answer says itself how good it is."""
    return float(answer)


def raises(answer: str) -> float:
    raise ValueError("no such thing")


JUDGED = {"policy": "cascade", "check": "judge", "needs": {"capabilities": ["chat", "work"]}}
CHECKS = BUILT_IN | {
    "graded": Check(700_000, graded),
    "raises": Check(700_000, raises),
    "odd": Check(700_000, lambda _: 7),
}


@pytest.fixture
async def stage(stage):
    """A stage with checks, on a bus of its own."""
    mine = type(stage)(MemoryBus())
    mine.rules = replace(mine.rules, cascade=CascadeRules(checks=CHECKS, judge_timeout_s=5.0))
    await mine.start()
    yield mine
    await mine.stop()
    await mine.bus.aclose()


async def three(stage, say, cheap: str, middle: str, dear: str) -> None:
    """Three backends, each better and dearer than the one before, which always say the same."""
    for name, tier, price, text in (
        ("cheap", "small", CHEAP, cheap),
        ("middle", "medium", MIDDLE, middle),
        ("dear", "frontier", DEAR, dear),
    ):
        await stage.register(name, price, tier=tier, capabilities=("chat", "schema", "work"))
        stage.work(name, say(text))


def rule(stage, **changes) -> None:
    """Route by other rules from now on."""
    stage.route(replace(stage.rules, cascade=replace(stage.rules.cascade, **changes)))


async def events(stage, task_id: str) -> list:
    records = await stage.bus.log.read(entity("task", task_id))
    return [envelope.event for record in records for envelope in decode(record.data)]


async def test_a_good_cheap_answer_is_enough(stage, say):
    """It is verified, judged in the same message, and nobody else is asked."""
    await three(stage, say, "0.8", "1", "1")
    outcome = await (task := await stage.board.submit("x", policy="cascade", check="graded")).result(5)
    assert (outcome.backend, outcome.output) == ("cheap", "0.8 ")
    assert outcome.scores == {"cascade": 800_000}
    assert await stage.history(task.id) == ["submitted", "assigned", "started", "completed", "evaluated"]
    records = await stage.bus.log.read(entity("task", task.id))
    assert records[-1].subject.endswith(".completed"), "a message is named by what others wait for"


async def test_a_poor_answer_is_declined_and_a_better_backend_asked(stage, say):
    """Each call is booked once, only the used one is not wasted, and the health of the declined one is untouched."""
    await three(stage, say, "0.1", "0.75", "1")
    outcome = await (task := await stage.board.submit("x", policy="cascade", check="graded", tags=["t"])).result(5)
    assert (outcome.backend, outcome.calls) == ("middle", 2)
    assert await stage.history(task.id) == [
        "submitted", "assigned", "started", "answered", "declined", "assigned", "started", "completed", "evaluated",
    ]  # fmt: skip
    assert outcome.cost == CHEAP.input * 15 // 10**6 + 2 + 20 - 1  # 2 and 20, each rounded up as its price says
    await stage.projector.reached(await stage.bus.log.end())
    cost = stage.projector.state(COST)
    assert cost.total.cost == outcome.cost == cost.by_tag["t"].cost
    assert cost.total.wasted == cost.by_backend["cheap"].cost == cost.by_tag["t"].wasted
    assert not cost.running
    state = await task.state()
    assert (state.tries, state.unsuited, state.failure) == (0, frozenset(), None)
    assert stage.projector.state(LOAD).backends["cheap"].failures == 0
    quality = stage.projector.state(LEARNING).quality
    assert (quality.by_backend["cheap"].mean, quality.by_backend["middle"].mean) == (100_000, 750_000)
    decisions = [event.decision for event in await events(stage, task.id) if hasattr(event, "decision")]
    excluded = {candidate.backend: candidate.excluded for candidate in decisions[1].candidates}
    assert excluded["cheap"] == "its answer was declined (10%)"


@pytest.mark.parametrize(("scores", "best"), [(("0.1", "0.2", "0.3"), "dear"), (("0.1", "0.6", "0.3"), "middle")])
async def test_the_best_answer_is_used_when_none_is_good_enough(stage, say, scores, best):
    """The last one, unless an earlier one was better; it is booked as it was, and the task is done."""
    await three(stage, say, *scores)
    outcome = await (task := await stage.board.submit("x", policy="cascade", check="graded")).result(5)
    assert (outcome.backend, outcome.calls, outcome.status) == (best, 3, Status.COMPLETED)
    history = await events(stage, task.id)
    assert Counter(type(event).__name__ for event in history)["Completed"] == 1
    assert outcome.cost == sum(event.cost for event in history if type(event).__name__ == "Answered")
    await stage.projector.reached(await stage.bus.log.end())
    cost = stage.projector.state(COST)
    assert cost.total.cost - cost.total.wasted == cost.by_backend[best].cost
    row = stage.projector.state(TASKS).ended.get(task.id)
    assert (row.cost, row.backend, row.calls) == (outcome.cost, best, 3)


@pytest.mark.parametrize(("scores", "said"), [(("0.1", "0.9", "1"), "0.9 "), (("0.1", "0.6", "0.3"), "0.6 ")])
async def test_whoever_streams_ends_with_the_answer_that_is_used(stage, say, scores, said):
    """The text begins anew with each call, and once more when an earlier one was the best."""
    await three(stage, say, *scores)
    task = await stage.board.submit("x", policy="cascade", check="graded", stream=True)
    texts: dict[int, str] = {}
    async for token in task.stream():
        texts[token.call] = texts.get(token.call, "") + token
    assert texts[max(texts)] == said


async def test_escalations_are_bounded(stage, say):
    """Where there are to be none, the first answer is used whatever it is worth."""
    rule(stage, escalations=0)
    await three(stage, say, "0.1", "1", "1")
    outcome = await (await stage.board.submit("x", policy="cascade", check="graded")).result(5)
    assert (outcome.backend, outcome.calls, outcome.scores) == ("cheap", 1, {"cascade": 100_000})


async def test_all_calls_count_towards_max_cost(stage, say):
    """When the next one would be over it, the best answer so far is used."""
    await three(stage, say, "0.1", "0.2", "1")
    outcome = await (await stage.board.submit("x", policy="cascade", check="graded", max_cost=100)).result(5)
    assert (outcome.backend, outcome.calls) == ("middle", 2)
    assert outcome.cost <= 100


async def test_a_better_backend_that_fails_costs_nobody_the_answer(stage, say):
    """When it was tried as often as may be, the declined answer is used."""
    await stage.register("cheap", CHEAP, tier="small")
    await stage.register("dear", DEAR, tier="frontier")
    stage.work("cheap", say("0.4"))

    async def broken(_):
        raise ProviderError(FailureKind.INVALID, "no")

    stage.work("dear", broken)
    outcome = await (await stage.board.submit("x", policy="cascade", check="graded")).result(5)
    assert (outcome.backend, outcome.scores) == ("cheap", {"cascade": 400_000})


async def test_what_is_not_better_is_not_asked(stage, say):
    """A backend of which no better answer is expected than the one in hand costs only money."""
    await three(stage, say, "0.65", "0.6", "1")
    for _ in range(3):
        task = await stage.board.submit("like this", backend="middle", policy="cascade", check="graded")
        await task.result(5)
    await stage.projector.reached(await stage.bus.log.end())
    outcome = await (await stage.board.submit("like this", policy="cascade", check="graded")).result(5)
    assert (outcome.backend, outcome.calls) == ("dear", 2)


@pytest.mark.parametrize(
    ("check", "note"),
    [
        ("raises", "raises raised ValueError: no such thing"),
        ("odd", "<lambda> gave 7, not a score from 0 to 1"),
    ],
)
async def test_a_check_that_fails_finds_an_answer_worthless(stage, say, check, note):
    """What went wrong is said in the log."""
    await three(stage, say, "x", "y", "z")
    outcome = await (task := await stage.board.submit("x", policy="cascade", check=check)).result(5)
    assert (outcome.backend, outcome.scores) == ("dear", {"cascade": 0})
    assert any(note in event.reason for event in await events(stage, task.id) if type(event).__name__ == "Declined")


async def test_a_schema_is_the_check_of_a_task_that_has_one(stage, say):
    """What does not fit it is declined, and the reason says where."""
    await three(stage, say, '{"age": "old"}', '{"age": 7}', "x")
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    outcome = await (task := await stage.board.submit("x", policy="cascade", schema=schema)).result(5)
    assert (outcome.backend, outcome.scores) == ("middle", {"schema": 1_000_000})
    (declined,) = [event for event in await events(stage, task.id) if type(event).__name__ == "Declined"]
    assert declined.reason == "does not fit its schema: $.age: 'old' is not of type 'integer'"


async def judge(request):
    """A callable judge, honest about what it is: it gives the answer's own number as its mark."""
    given = request.messages[-1].content
    return json.dumps({"why": "as it says", "mark": round(10 * float(given.rpartition("Answer:\n")[2]))})


async def test_a_judge_is_a_task_of_its_own(stage, say):
    """Its prompt and its cost are in the log under its own tag, below the task; the verdict is with the answer."""
    rule(stage, judge="judge")
    await three(stage, say, "0.3", "0.9", "1")
    await stage.register("judge", MIDDLE, tier="small", capabilities=("chat", "schema"))
    stage.work("judge", judge)
    asked = JUDGED | {"tags": ["mine"]}
    outcome = await (task := await stage.board.submit("how much?", **asked)).result(5)
    assert (outcome.backend, outcome.scores) == ("middle", {"cascade": 900_000})
    assert await stage.history(task.id) == [
        "submitted", "assigned", "started", "answered", "parked", "declined",
        "assigned", "started", "answered", "parked", "completed", "evaluated",
    ]  # fmt: skip
    await stage.projector.reached(await stage.bus.log.end())
    cost = stage.projector.state(COST)
    assert cost.by_tag["cascade-judge"].calls == 2
    assert cost.total.cost == outcome.cost + cost.by_tag["cascade-judge"].cost
    rows = [row for row in stage.projector.state(TASKS).ended.values() if row.tags == ("cascade-judge",)]
    questions = [(await stage.tasks.load(row.id)).state.spec for row in rows]
    assert {question.parent for question in questions} == {task.id}
    assert all("Task:\nhow much?" in question.input and question.policy == "cheapest" for question in questions)
    (declined,) = [event for event in await events(stage, task.id) if type(event).__name__ == "Declined"]
    assert (declined.score, declined.reason, declined.verification) == (300_000, "as it says", 20)
    assert "judge" not in stage.projector.state(LEARNING).quality.by_backend, (
        "that a mark fits its schema is no work well done"
    )


class Overtaken:
    """A log on which the second assignment of a task is stored only when another one was, and led to an answer."""

    def __init__(self, log) -> None:
        self._log = log
        self._assigned = 0

    def __getattr__(self, name: str):
        return getattr(self._log, name)

    async def append(self, write, **options) -> int:
        self._assigned += ".task.T.assigned." in write.subject
        if self._assigned == 2 and ".task.T.assigned." in write.subject:
            while [parse(r.subject).type for r in await self._log.read(entity("task", "T"))].count("answered") < 2:
                await asyncio.sleep(0)
        return await self._log.append(write, **options)


async def test_no_task_waits_for_a_question_that_nobody_asked(stage, say):
    """A step that was overtaken, and finds another answer to be judged, has to ask before it parks the task."""
    bus = MemoryBus()
    bus.log = Overtaken(bus.log)
    mine = type(stage)(bus)
    mine.rules = replace(stage.rules, cascade=replace(stage.rules.cascade, judge="judge", judge_timeout_s=60.0))
    await mine.start()
    await three(mine, say, "0.3", "0.9", "1")
    await mine.register("judge", MIDDLE, tier="small", capabilities=("chat", "schema"))
    mine.work("judge", judge)
    outcome = await (await mine.board.submit("how much?", id="T", **JUDGED)).result(10)
    assert (outcome.backend, outcome.scores) == ("middle", {"cascade": 900_000})
    await mine.stop()
    await bus.aclose()


async def test_two_routers_decide_once(stage, say):
    """Both hear that the judge has answered; the log has one verdict for each answer."""
    rule(stage, judge="judge")
    other = Projector(stage.bus, *LIVE)
    await other.catch_up()
    stage.run(other.run())
    stage.run(Router(stage.bus, stage.tasks.by("router-2"), other, stage.rules).run())
    await three(stage, say, "0.3", "0.4", "1")
    await stage.register("judge", MIDDLE, tier="small", capabilities=("chat", "schema"))
    stage.work("judge", judge)
    tasks = [await stage.board.submit("how much?", **JUDGED) for _ in range(20)]
    for task in tasks:
        assert (await task.result(10)).backend == "dear"
        kinds = Counter(await stage.history(task.id))
        assert (kinds["answered"], kinds["completed"]) == (kinds["declined"] + 1, 1)


@pytest.mark.parametrize("said", ["no JSON", '{"why": "x", "mark": 11}', '{"why": "x"}'])
async def test_an_answer_that_can_not_be_judged_is_used(stage, say, said):
    """Nobody knows that it is bad: it has no score, and nothing is learned from it."""
    rule(stage, judge="judge")
    await three(stage, say, "0.3", "0.9", "1")
    await stage.register("judge", DEAR, capabilities=("chat", "schema"))
    stage.work("judge", say(said))
    outcome = await (await stage.board.submit("x", **JUDGED)).result(5)
    assert (outcome.backend, outcome.scores) == ("cheap", {})
    await stage.projector.reached(await stage.bus.log.end())
    assert "cheap" not in stage.projector.state(LEARNING).quality.by_backend


async def test_a_judge_that_does_not_answer_is_not_waited_for(stage, say):
    """After its time the answer is used; the judge's call is stopped."""
    rule(stage, judge="judge", judge_timeout_s=0.2)
    await three(stage, say, "0.3", "0.9", "1")
    await stage.register("judge", DEAR, capabilities=("chat", "schema"))

    async def silent(_):
        await asyncio.Event().wait()

    provider = stage.work("judge", silent)
    outcome = await (await stage.board.submit("x", **JUDGED)).result(5)
    assert (outcome.backend, outcome.scores) == ("cheap", {})
    while not provider.closed_early:
        await asyncio.sleep(0.01)


async def test_a_declined_answer_stays_out_of_the_breaker(stage, say):
    """A backend whose answers are declined one after another is healthy."""
    await three(stage, say, "0", "1", "1")
    for _ in range(8):
        await (await stage.board.submit("x", policy="cascade", check="graded", backend="cheap")).result(5)
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(BACKENDS).by_id["cheap"].breaker == "closed"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"policy": "cascade", "check": "shema"}, "unknown check 'shema'; did you mean 'schema'.; known: gra"),
        ({"policy": "cascade", "check": "schema"}, "check 'schema': the task has no schema"),
        ({"policy": "cheapest", "check": "graded"}, "check 'graded': only the policy 'cascade' verifies answers"),
        ({"policy": "cascaed"}, "unknown policy 'cascaed'; did you mean 'cascade'.; known: adaptive, agent, balanced"),
    ],
)
async def test_a_wrong_name_is_refused_in_one_line(stage, say, asked, reason):
    """With what was probably meant."""
    await three(stage, say, "1", "1", "1")
    with pytest.raises(TaskFailed, match=reason):
        await (await stage.board.submit("x", **asked)).result(5)
