"""Tasks that read a context, through every actor: which version, what the model is given, what it costs."""

import asyncio
from datetime import timedelta

import pytest

from callboard.actors.alarms import Alarm
from callboard.actors.contexts import contexts_on
from callboard.actors.reading import prompt_of
from callboard.actors.router.ceiling import input_bound
from callboard.actors.router.options import prompt_tokens
from callboard.actors.router.prefix import CHARACTERS, prefix_of
from callboard.actors.scheduler import Scheduler
from callboard.actors.task_handle import TaskFailed
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST, SCHEDULE, Entities
from callboard.events.backend import Breaker
from callboard.events.chat import Message, ToolCall
from callboard.events.context import Say
from callboard.events.errors import InvalidInput
from callboard.events.money import Price
from callboard.events.prefix import MARK
from callboard.events.prompt import SUMMARY
from callboard.events.schedule import Planned
from callboard.events.task import Status
from callboard.events.task_spec import Blob, TaskSpec, newest_text
from callboard.projections.backends import BACKENDS
from callboard.projections.tasks import TASKS

LOOK = Say("assistant", "", (ToolCall("1", "look", '{"at": "map"}'),))
SEEN = Say("tool", "a map", tool_call_id="1")


@pytest.fixture
async def plan(stage, say):
    """A context in which something was said, and a backend that reads it."""
    await stage.register("a", context=100_000)
    stage.model = stage.work("a", say("ok"))
    plan = stage.board.context("plan")
    await plan.say("Where shall we go?")
    await plan.say("To Lisbon.", role="assistant")
    return plan


async def test_the_conversation_comes_before_the_input(stage, plan):
    """System first, then what was said, then what is asked; the version is written down, and later ones don't count."""
    task = await stage.board.submit("By train?", context="plan", system="Be brief.")
    await plan.say("Not any more.")
    await task.result(5)
    assert stage.model.requests[0].messages == (
        Message("system", "Be brief."),
        Message("user", "Where shall we go?"),
        Message("assistant", "To Lisbon."),
        Message("user", "By train?"),
    )
    spec = (await task.state()).spec
    assert (spec.context, spec.input, spec.shown.messages) == ("plan@2", "By train?", 2)
    assert await prompt_of(contexts_on(stage.bus, "later"), spec) == stage.model.requests[0].messages


async def test_a_version_is_read_as_it_was(stage, plan):
    """Whatever was said since; and an input of several messages comes after it too."""
    await (await stage.board.submit([{"role": "user", "content": "x"}], context="plan@1")).result(5)
    assert [message.content for message in stage.model.requests[0].messages] == ["Where shall we go?", "x"]


async def test_the_context_alone_is_enough(stage, plan):
    """Without an input the model goes on with what was said; the task is told by its newest text."""
    await plan.say("And then?")
    (reply,) = await stage.ask({"context": "plan"})
    assert (reply["status"], reply["output"]) == ("completed", "ok ")
    assert [message.content for message in stage.model.requests[0].messages][-1] == "And then?"
    spec = (await stage.board.tasks.load(reply["task"])).state.spec
    assert newest_text(spec) == "And then?"
    await stage.projector.reached(await stage.bus.log.end())
    assert stage.projector.state(TASKS).ended.get(reply["task"]).preview == "And then?"


async def test_all_kinds_of_content_are_told(stage, plan):
    """Summaries, calls of tools with their answers, texts and summaries in the blob store, and what a fork inherits."""
    long, short = "word " * 20_000, "They chose Lisbon. " * 5_000
    await plan.compact(0, 1, "They chose Lisbon.")
    await plan.change(LOOK, Say("user", "Hurry!"), SEEN)
    branch = await plan.fork("branch")
    await branch.say(long)
    await plan.say("Only here.")
    task = await stage.board.submit(context="branch")
    await task.result(5)
    assert stage.model.requests[0].messages == (
        Message("user", f"{SUMMARY}They chose Lisbon."),
        Message("assistant", "", LOOK.tool_calls),
        Message("tool", "a map", tool_call_id="1"),
        Message("user", "Hurry!"),
        Message("user", long),
    )
    shown = (await task.state()).spec.shown
    assert (shown.messages, shown.calls) == (5, 1)
    assert shown.characters > len(long)
    await branch.compact(0, 4, short)
    await (await stage.board.submit(context="branch")).result(5)
    assert stage.model.requests[1].messages == (Message("user", SUMMARY + short), Message("user", long))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"context": "plna"}, "no context 'plna': `callboard context list` shows those that there are"),
        ({"input": "x", "context": "plan@9"}, "context plan has no version 9: use 1 to 2"),
        ({"input": "x", "context": "plan@0"}, "context plan has no version 0: use 1 to 2"),
        ({"input": "x", "context": "plan@x"}, "context 'plan@x': after the @ comes a version, as in plan@3"),
        ({"input": "x", "context": "a.b@3"}, "context 'a.b' is not valid"),
        ({"context": "bare"}, "context bare@1 has no messages and input is empty"),
        ({"input": "x", "context": "open"}, "context open@1 has calls of tools without an answer, or the reverse (1)"),
        ({"input": "x", "context": "plan", "shown": {"size": 1}}, "not a task: Expected `null`, got `object`"),
    ],
)
async def test_what_can_not_be_read_is_rejected(stage, plan, message, reason):
    """In one line, whoever asks."""
    await stage.board.context("bare").put("fact", 1)
    await stage.board.context("open").change(LOOK)
    (reply,) = await stage.ask(message)
    assert reply["status"] == "rejected"
    assert reply["reason"].startswith(reason)
    assert "\n" not in reply["reason"]
    assert await stage.history(reply["task"]) == ["rejected"]
    with pytest.raises(InvalidInput) as told:
        await stage.board.submit(**message)
    assert str(told.value) == reply["reason"]


async def test_facts_alone_are_no_prompt(stage, plan):
    """A context without messages adds nothing to the input."""
    await stage.board.context("bare").put("fact", 1)
    await (await stage.board.submit("hello", context="bare")).result(5)
    assert stage.model.requests[0].messages == (Message("user", "hello"),)


async def test_what_is_lost_is_the_tasks_trouble_alone(stage, plan):
    """A value that is in no blob store ends the task, with the reason; the backend is not blamed for it."""
    await plan.change(Say("user", Blob("0" * 64, 10)))
    for _ in range(6):
        task = await stage.board.submit(context="plan")
        with pytest.raises(TaskFailed):
            await task.result(5)
        assert "the prompt can't be put together: no blob" in (await task.state()).failure.message
    assert stage.projector.state(BACKENDS).by_id["a"].breaker is Breaker.CLOSED
    assert stage.model.requests == []


async def test_the_same_key_is_the_same_version(stage, plan):
    """Submitted again it is the task that it was, whatever was said since, and even if that can't be read now."""
    first = await stage.board.submit(context="plan", key="once")
    await plan.say("More.")
    await plan.change(LOOK)
    again = await stage.board.submit(context="plan", key="once")
    assert first.id == again.id
    assert (await again.state()).spec.context == "plan@2"


async def test_it_counts_as_much_as_an_input_of_the_same(stage, plan):
    """For the window, for what it probably costs and at most, for the caches: as if its messages were the input."""
    texts = ["word " * 2 * CHARACTERS, "é" * 100]
    await plan.change(*(Say("user", text) for text in texts), LOOK, SEEN)
    told = [("user", "Where shall we go?"), ("assistant", "To Lisbon."), *(("user", text) for text in texts)]
    given = (*(Message(*each) for each in told), Message("assistant", "", LOOK.tool_calls))
    given = (*given, Message("tool", "a map", tool_call_id="1"), Message("user", "and?"))
    same, handle = (
        TaskSpec(given, system="Be brief."),
        await stage.board.submit("and?", system="Be brief.", context="plan"),
    )
    spec = (await handle.state()).spec
    assert prompt_tokens(spec) == prompt_tokens(same)
    assert input_bound(spec) == input_bound(same)
    assert prefix_of(spec) == prefix_of(same)
    assert len(prefix_of(spec)) >= 8 * MARK


async def test_what_is_read_to_a_value_aside_has_marks(stage, plan):
    """A text in the blob store is not read for them, nor is what comes after it."""
    start = "word " * CHARACTERS
    await plan.say(start)
    before = (await (await stage.board.submit("x", context="plan")).state()).spec
    await plan.say("aside " * 20_000)
    after = (await (await stage.board.submit("y", context="plan")).state()).spec
    assert prefix_of(before)[: 4 * MARK] == prefix_of(after)[: 4 * MARK] != b""


async def test_a_context_that_fits_no_window_is_rejected(stage, plan, say):
    """It goes where it fits, or the reason names the tokens and the window."""
    await plan.say("x" * 60_000)
    await stage.register("small", Price(), context=8192)
    stage.work("small", say("no"))
    assert (await (await stage.board.submit("x", context="plan")).result(5)).backend == "a"
    with pytest.raises(TaskFailed, match=r"150\d\d tokens do not fit its window of 8192"):
        await (await stage.board.submit("x", context="plan", backend="small")).result(5)


async def test_money_is_held_for_all_that_is_read(stage, plan):
    """The hold covers every byte of the context; a budget that it does not fit refuses."""
    await plan.say("x" * 50_000)
    await stage.board.set_budget("team", limit=1_000_000, on_breach="stop")
    await stage.board.set_budget("poor", limit=50_000, on_breach="stop")
    task = await stage.board.submit("and?", context="plan", budget="team", max_tokens=10)
    await task.result(5)
    hold = (await task.state()).hold
    assert 50_000 < hold.input < 51_000
    assert hold.amount >= hold.input
    with pytest.raises(TaskFailed, match="budget poor has"):
        await (await stage.board.submit("and?", context="plan", budget="poor", max_tokens=10)).result(5)
    with pytest.raises(TaskFailed, match="over max_cost"):
        await (await stage.board.submit("and?", context="plan", max_cost=9_000)).result(5)


async def test_a_schedule_reads_it_as_it_is_then(stage, plan):
    """What is planned names the context; each time it is pinned anew."""
    planned = await stage.board.schedule("daily", "0 9 * * *", context="plan")
    assert planned.planned.spec.context == "plan"
    with pytest.raises(InvalidInput, match="no context 'plna'"):
        await stage.board.schedule("other", "0 9 * * *", context="plna")
    with pytest.raises(InvalidInput, match="input is empty"):
        await stage.board.schedule("other", "0 9 * * *")
    start = now().replace(microsecond=0) - timedelta(seconds=10)
    schedules = Entities(stage.bus.log, SCHEDULE, "test")
    scheduler = Scheduler(stage.bus, stage.tasks.by("scheduler"))
    for name, said, status in (("one", Say("user", "more"), Status.COMPLETED), ("two", LOOK, Status.REJECTED)):
        await plan.change(said)
        spec = TaskSpec("", context="plan")
        await schedules.tell(name, lambda _, spec=spec: [Planned("* * * * * *", spec, start)])
        await scheduler.fire(Alarm(name, "schedule", start + timedelta(seconds=1)))
        fired = (await schedules.load(name, at_least=NEWEST)).state.fired
        async with asyncio.timeout(5):
            while (task := (await stage.tasks.load(fired.task, at_least=NEWEST)).state).status is not status:
                await asyncio.sleep(0.01)
        if task.spec:
            assert task.spec.context == "plan@3"
    assert "context plan@4 has calls of tools without an answer" in task.reason


async def test_whoever_advises_is_told_what_was_said(stage, plan, say):
    """The question about a task has its context's words in it, as the model will have them."""
    await stage.register("b", Price(2_000_000, 4_000_000))
    stage.work("b", say("ok"))
    await stage.register("adviser", capabilities=("chat", "schema"))
    adviser = stage.work("adviser", say('{"why": "x", "backend": "b"}'))
    rules = stage.rules
    stage.route(type(rules)(rules.policies, default="agent", agent=type(rules.agent)(backend="adviser")))
    await (await stage.board.submit("By train?", context="plan", system="Be brief.")).result(5)
    asked = adviser.requests[0].messages[-1].content
    assert "Be brief.\n\nuser: Where shall we go?\nassistant: To Lisbon.\nuser: By train?" in asked
