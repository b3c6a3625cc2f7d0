"""The policy `agent`: a model is asked where a task should go, and what it says is recorded, checked and followed."""

import asyncio
import json

import pytest
from msgspec.structs import replace

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.router.asking import AgentRules
from callboard.actors.router.policies.registry import policies
from callboard.actors.submission import id_from
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.advice import Advised
from callboard.events.backend import Drained, Resumed, Scaled
from callboard.events.chat import Usage
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.task import Assigned, Completed, Started, Status, Submitted
from callboard.events.task_spec import Decision, TaskSpec
from callboard.projections.cost import COST
from callboard.projections.tasks import TASKS

CHEAP, DEAR = Price(100_000, 100_000), Price(10_000_000, 20_000_000)


@pytest.fixture
async def stage(stage):
    """A stage whose router asks the backend ``adviser``, and else takes the cheapest, on a bus of its own."""
    mine = type(stage)(MemoryBus())
    rules = replace(mine.rules, agent=AgentRules("adviser", 5.0))
    mine.rules = replace(rules, policies=policies(fallback="cheapest"), default="agent")
    await mine.start()
    yield mine
    await mine.stop()
    await mine.bus.aclose()


async def two(stage, say, advises) -> object:
    """Two backends that do tasks, and one that advises: a function, and said to be one."""
    for name, price in (("small", CHEAP), ("large", DEAR)):
        await stage.register(name, price, capabilities=("chat", "work"), data_policy=("region:eu",))
        stage.work(name, say(name))
    await stage.register("adviser", CHEAP, capabilities=("chat", "schema"), data_policy=("region:eu",))
    return stage.work("adviser", advises)


def says(text: str):
    async def answer(_):
        return text

    return answer


async def broken(_):
    raise ProviderError(FailureKind.INVALID, "no")


async def ask(stage, **fields):
    return await stage.board.submit("prove it", needs={"capabilities": ["chat", "work"]}, **fields)


async def events(stage, task_id: str) -> list:
    records = await stage.bus.log.read(entity("task", task_id))
    return [envelope.event for record in records for envelope in decode(record.data)]


async def test_the_advice_is_followed_and_recorded(stage, say):
    """The adviser sees the task and the candidates, answers in a schema, and its cost has its own tag."""
    adviser = await two(stage, say, says('{"why": "a proof is hard", "backend": "large"}'))
    outcome = await (task := await ask(stage, tags=["maths"])).result(5)
    assert outcome.backend == "large"
    assert await stage.history(task.id) == [
        "submitted", "parked", "advised", "assigned", "started", "completed",
    ]  # fmt: skip
    _, parked, advised, assigned, *_ = await events(stage, task.id)
    assert parked.reason == "asking adviser for advice"
    assert advised == Advised(parked.asks, "a proof is hard", "large")
    assert assigned.decision.policy == "agent/1"
    assert assigned.decision.reason == "advised: a proof is hard"
    assert assigned.decision.propensity == 1_000_000
    (request,) = adviser.requests
    prompt = request.messages[-1].content
    assert "prove it" in prompt
    assert "tags: maths" in prompt
    assert "- small: quality 75%, cost 27 micro-dollars" in prompt
    assert request.schema["properties"]["backend"]["enum"] == ["large", "small"]
    question = (await stage.tasks.load(parked.asks)).state
    assert (question.spec.parent, question.spec.policy, question.spec.tags) == (
        task.id, "cheapest", ("routing-advice",),
    )  # fmt: skip
    await stage.projector.reached(await stage.bus.log.end())
    cost = stage.projector.state(COST)
    assert cost.by_tag["routing-advice"].cost == question.cost > 0
    assert cost.total.cost == outcome.cost + question.cost


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("large, I think", "no advice: an answer that is not valid: JSON is malformed"),
        ('{"why": "x", "backend": "huge"}', "no advice: advice for 'huge', which was no candidate"),
        ('{"why": 7, "backend": "large"}', "no advice: an answer that is not valid: Expected `str`, got `int`"),
        ('{"why": "x"}', "no advice: an answer that is not valid: Object missing required field `backend`"),
    ],
)
async def test_advice_that_is_not_valid_is_not_followed(stage, say, said, why):
    """The fallback decides, and the decision says why."""
    await two(stage, say, says(said))
    outcome = await (task := await ask(stage)).result(5)
    assert outcome.backend == "small"
    (assigned,) = [event for event in await events(stage, task.id) if isinstance(event, Assigned)]
    assert assigned.decision.reason.startswith(why)
    assert "; so cheapest, about" in assigned.decision.reason


async def test_advice_that_is_late_is_not_waited_for(stage, say):
    """After the time-out the fallback decides; the question has expired and its call is stopped."""

    async def silent(_):
        await asyncio.Event().wait()

    adviser = await two(stage, say, silent)
    stage.route(replace(stage.rules, agent=AgentRules("adviser", 0.2)))
    outcome = await (task := await ask(stage)).result(5)
    assert outcome.backend == "small"
    (advised,) = [event for event in await events(stage, task.id) if isinstance(event, Advised)]
    assert advised.reason.startswith("no advice: no answer")
    while not adviser.closed_early:
        await asyncio.sleep(0.01)


async def test_an_answer_may_be_there_before_the_task_waits_for_it(stage, say):
    """As after a crash between the question and the wait for it: it is found at once, not when the wait would end."""
    stage.forged = True
    await two(stage, say, says("never asked"))
    stage.route(replace(stage.rules, agent=AgentRules("adviser", 60.0)))
    question = id_from("advice", "T", "0", owner="T")
    answered = Completed("adviser", 1, '{"why": "x", "backend": "large"}', Usage(1, 1), 2, "m")
    decision = Decision("cheapest/1", "cheapest", 0)
    for event in (
        Submitted(TaskSpec("?", parent="T")),
        Assigned("none", 1, 9, decision),
        Started("none", 1, "w"),
        answered,
    ):
        await stage.tasks.tell(question, lambda _, event=event: [event])
    assert (await (await ask(stage, id="T")).result(10)).backend == "large"


async def test_nobody_is_asked_where_there_is_no_choice(stage, say):
    """With one that can do it, or an adviser that is gone, tasks go on all the same."""
    adviser = await two(stage, say, says("never heard"))
    outcome = await (await ask(stage, backend="large")).result(5)
    assert (outcome.backend, adviser.requests) == ("large", [])
    stage.route(replace(stage.rules, agent=AgentRules("gone", 5.0)))
    outcome = await (task := await ask(stage)).result(5)
    assert outcome.backend == "small"
    (advised,) = [event for event in await events(stage, task.id) if isinstance(event, Advised)]
    assert "unknown backend 'gone'" in advised.reason


async def test_a_question_is_never_asked_about_a_question(stage, say):
    """Also when every task asks by default, and the adviser is just the cheapest that can."""
    await two(stage, say, says('{"why": "x", "backend": "large"}'))
    await stage.register("second", CHEAP, capabilities=("chat", "schema"))
    stage.work("second", says('{"why": "x", "backend": "large"}'))
    stage.route(replace(stage.rules, agent=AgentRules(None, 5.0)))
    assert (await (await ask(stage)).result(5)).backend == "large"
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(TASKS).counts["completed"] == 2


async def test_the_question_goes_where_the_task_may_go(stage, say):
    """What is promised of the task's data is asked of the adviser too, and its money is the task's own limit."""
    await two(stage, say, says('{"why": "x", "backend": "large"}'))
    needs = {"capabilities": ["chat", "work"], "data_policy": ["region:eu"]}
    task = await stage.board.submit("x", needs=needs, max_cost=9000, priority=7)
    await task.result(5)
    parked = (await events(stage, task.id))[1]
    spec = (await stage.tasks.load(parked.asks)).state.spec
    assert (spec.max_cost, spec.priority, spec.needs.data_policy) == (9000, 7, ("region:eu",))


async def test_an_advised_backend_that_fails_is_replaced_without_asking_again(stage, say):
    """What to do then, the fallback says: a question is asked once for each task."""

    def saying(text: str):
        return broken if text == "large" else say(text)

    adviser = await two(stage, saying, says('{"why": "x", "backend": "large"}'))
    outcome = await (task := await ask(stage)).result(5)
    assert (outcome.backend, len(adviser.requests)) == ("small", 1)
    last = [event for event in await events(stage, task.id) if isinstance(event, Assigned)][-1]
    assert last.decision.reason == "the only one that can"


async def test_a_change_of_the_backends_does_not_end_the_wait(stage, say):
    """The task stays parked for its answer, however often something changes; the advice of one that is gone is void."""
    gate = asyncio.Event()

    async def slow(_):
        await gate.wait()
        return json.dumps({"why": "x", "backend": "large"})

    await two(stage, say, slow)
    task = await ask(stage)
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    await stage.change("small", Scaled(2))
    await stage.register("third", DEAR, capabilities=("chat", "work"))
    stage.work("third", say("third"))
    await stage.change("large", Scaled(0))
    await asyncio.sleep(0.1)
    assert await stage.history(task.id) == ["submitted", "parked"]
    gate.set()
    assert (await task.result(5)).backend == "small"
    (advised,) = [event for event in await events(stage, task.id) if isinstance(event, Advised)]
    assert advised.reason == "no advice: advice for 'large', which was no candidate"


async def test_advice_that_comes_when_nobody_can_do_it_is_kept(stage, say):
    """The task waits for a backend, for no matter what; when there is one again, the advice counts."""
    gate = asyncio.Event()

    async def slow(_):
        await gate.wait()
        return json.dumps({"why": "x", "backend": "large"})

    await two(stage, say, slow)
    task = await ask(stage)
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    for name in ("small", "large"):
        await stage.change(name, Drained("upgrade"))
    gate.set()
    while not ((parked := (await task.state()).parked) and "is draining" in parked.reason):
        await asyncio.sleep(0.01)
    assert await stage.history(task.id) == ["submitted", "parked", "parked"], "not even advised"
    stage._router.cancel()
    for name in ("small", "large"):
        await stage.change(name, Resumed())
    stage.route()
    assert (await task.result(5)).backend == "large"
    (advised,) = [event for event in await events(stage, task.id) if isinstance(event, Advised)]
    assert (advised.backend, advised.reason) == ("large", "x")
