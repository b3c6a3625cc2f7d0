"""Private tasks through every actor, in memory: whoever is asked about one is asked in private, and nothing tells."""

import asyncio
import json

import pytest
from msgspec.structs import replace

from callboard.actors.backend.providers.provider import FailureKind, ProviderError
from callboard.actors.checks import BUILT_IN
from callboard.actors.router.asking import AgentRules
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.features import features
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.prefix import prefix_of
from callboard.bus.entities import TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.bus.subjects import entity
from callboard.events.envelope import decode
from callboard.events.task import Assigned, Status, Submitted
from callboard.events.task_spec import TaskSpec

SECRET = "marmalade"
WORK = {"needs": {"capabilities": ["chat", "work"]}, "private": "ann"}


@pytest.fixture
async def stage(stage):
    """A stage whose router asks for advice, and for a judge of every answer of a cascade, on a bus of its own."""
    mine = type(stage)(MemoryBus())
    rules = replace(mine.rules, agent=AgentRules("wise", 5.0), cascade=CascadeRules(BUILT_IN, judge_timeout_s=5.0))
    mine.rules = replace(rules, policies=policies(fallback="cheapest"))
    await mine.start()
    yield mine
    await mine.stop()
    await mine.bus.aclose()


async def quotes(request):
    """Whatever is asked for, with what was asked in it."""
    text = request.messages[-1].content
    if request.schema:
        names = request.schema["properties"]
        answer = {"backend": "two"} if "backend" in names else {"mark": 9}
        return json.dumps({"why": f"it says {SECRET}"} | answer)
    return f"answer to {text}"


async def three(stage) -> list:
    await stage.register("one", capabilities=("chat", "work"))
    await stage.register("two", capabilities=("chat", "work"))
    await stage.register("wise", capabilities=("chat", "schema"))
    return [stage.work(name, quotes) for name in ("one", "two", "wise")]


async def everything(stage) -> list:
    return [(record.subject, record.data) async for batch in stage.bus.log.read_all() for record in batch]


@pytest.mark.parametrize("asked", [{"policy": "agent"}, {"policy": "cascade", "check": "judge"}])
async def test_who_is_asked_about_it_is_asked_in_private(stage, asked):
    """The adviser and the judge see the text, the log does not: questions, answers, and what follows from them."""
    *_, wise = await three(stage)
    outcome = await (await stage.board.submit(SECRET, **WORK, **asked)).result(5)
    assert outcome.output == f"answer to {SECRET} "
    assert SECRET in wise.requests[0].messages[-1].content
    kept = await everything(stage)
    assert not any(SECRET.encode() in data for _, data in kept)
    questions = [each.event.spec for _, data in kept for each in decode(data) if isinstance(each.event, Submitted)]
    assert [spec.private for spec in questions] == ["ann", "ann"]


async def test_a_decision_tells_nothing_of_the_text(stage):
    """Neither features of its words nor marks of its beginnings, which others could be compared with."""
    await three(stage)
    for fields in ({}, {"private": "ann"}):
        task = await stage.board.submit(f"{SECRET} " * 2000, needs={"capabilities": ["chat", "work"]}, **fields)
        await task.result(5)
        records = await stage.bus.log.read(entity("task", task.id))
        (assigned,) = [e.event for r in records for e in decode(r.data) if isinstance(e.event, Assigned)]
        assert any(assigned.decision.features[1:]) == bool(assigned.decision.prefix) == (not fields)
    private, public = TaskSpec(SECRET, private="ann", tags=("t",)), TaskSpec("", tags=("t",))
    assert features(private) == features(public)
    assert prefix_of(replace(private, input=SECRET * 9999)) == b""


async def test_a_submission_that_can_not_be_taken_in_is_not_kept(stage):
    """Its reason and its text are sealed if it says of whom it is; if it does so wrongly, neither is kept at all."""
    for said in (
        {"input": SECRET, "private": "ann", "deadline": SECRET},
        {"input": SECRET, "private": f"not {SECRET}"},
        f'{{"input": "{SECRET}", "private": "ann"'.encode(),
        {"input": SECRET, "private": ["ann"]},
    ):
        (reply,) = await stage.ask(said)
        assert reply["status"] == "rejected"
        assert reply["reason"]
    assert not any(SECRET.encode() in data for _, data in await everything(stage))
    (reply,) = await stage.ask({"inputt": "public"})
    (rejected,) = await stage.envelopes("task", reply["task"])
    assert "public" in rejected.event.payload


async def refuses(request):
    """Quotes what was asked, and will not work before its key is mended."""
    raise ProviderError(FailureKind.UNAUTHORIZED, f"not {request.messages[-1].content}")


async def test_a_breaker_that_opens_does_not_quote(stage):
    """What a backend's history tells of a private failure, and what waits for it, is of which kind it was."""
    await stage.register("one", capabilities=("chat", "work"))
    stage.work("one", refuses)
    await stage.board.submit(SECRET, **WORK)
    async with asyncio.timeout(5):
        while "opened" not in await stage.events("backend", "one"):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    kept = await everything(stage)
    assert any(b"unauthorized" in data for subject, data in kept if subject.endswith(".opened"))
    assert not any(SECRET.encode() in data for _, data in kept)


async def test_a_dead_letter_that_was_forgotten_stays_one(stage):
    """Tried again, it says so again; no model is called."""
    models = await three(stage)
    task = await stage.board.submit(SECRET, **WORK, delay_s=3600)
    await stage.board.forget("ann")
    await task.requeue()
    async with asyncio.timeout(5):
        while (await task.state()).status is not Status.DEAD or (await stage.history(task.id))[-1] == "requeued":
            await asyncio.sleep(0.01)
    assert (await task.state()).reason.startswith("ann has been forgotten")
    assert not any(model.requests for model in models)


async def test_a_prompt_that_is_forgotten_at_the_last_moment(stage):
    """The worker finds out, and the task ends for the same reason."""
    await stage.register("one", capabilities=("chat", "work"))
    task = await stage.board.submit(SECRET, **WORK)
    async with asyncio.timeout(5):
        while (await task.state()).status is not Status.ASSIGNED:
            await asyncio.sleep(0.01)
    await stage.bus.privacy.keyring.destroy("ann", "", "")
    model = stage.work("one", quotes)
    async with asyncio.timeout(5):
        while (await task.state()).status is not Status.DEAD:
            await asyncio.sleep(0.01)
    assert (await task.state()).reason.startswith("ann has been forgotten")
    assert not model.requests


async def test_what_nobody_calls_private_is_written_as_before(stage):
    """No byte of it tells that there is such a thing as private data."""
    await three(stage)
    await (await stage.board.submit("public", needs={"capabilities": ["chat", "work"]})).result(5)
    kept = await everything(stage)
    assert kept
    assert not any(b"private" in data or b"sealed" in data for _, data in kept)
    assert not await stage.bus.keys.names()
    strange = Entities(stage.bus.log, TASK, "strange")
    assert all(not loaded.keys for loaded in await strange.all())
