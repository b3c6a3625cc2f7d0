"""What can't be done as asked is refused in words, and nothing is lost."""

import re

import pytest

from callboard.actors.task_handle import TaskFailed
from callboard.bus.memory import MemoryBus
from callboard.events.errors import InvalidInput
from callboard.events.money import Price


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"not json", "not JSON: .*; send one JSON object such as"),
        (b"[1]", "not a task: Expected `object`, got `array`"),
        (b"\xff", "not JSON"),
        ({"inptu": "x"}, "unknown field 'inptu'; did you mean 'input'?"),
        ({"input": ""}, "input is empty"),
        ({"input": "x", "id": "a.b"}, "id 'a.b' is not valid"),
        ({"input": "x", "backend": "*"}, "backend '\\*' is not valid"),
        ({"input": "x", "max_cost": -1}, "max_cost must be from 0"),
        (
            {"input": "x", "budget": "research"},
            "unknown budget .research. .there is none yet.: callboard budget set research --limit 5usd makes it",
        ),
        ({"input": "x", "priority": 11}, "priority must be from 0 to 9, got 11"),
        ({"input": "x", "deadline": "2020-01-01T00:00:00Z"}, "deadline 2020-01-01.* is in the past"),
        ({"input": "x", "deadline": "2020-01-01T00:00:00"}, "has no time zone"),
        ({"input": "x", "timeout_s": -3}, "timeout_s must be over 0"),
        ({"input": "x", "tools": [{"name": "f"}]}, r"missing required field `description` - at `\$.tools"),
        ({"input": "x", "tools": [{"name": "f", "description": "", "parameters": {}}] * 2}, "no two of one name"),
        ({"input": "x", "schema": {"type": "objekt"}}, r"schema is not a JSON Schema: \$.type: 'objekt' is not valid"),
        ({"input": "x", "reply_to": "evt.0.task.x.completed"}, "is not a subject to reply to"),
        ({"input": "x", "needs": {"capabilites": ["chat"]}}, "did you mean 'capabilities'"),
    ],
)
async def test_bad_input_is_rejected_with_the_reason(stage, message, reason):
    """The sender is told what is wrong, and the log keeps what was sent."""

    (reply,) = await stage.ask(message)
    assert reply["status"] == "rejected"
    assert re.search(reason, reply["reason"])
    assert await stage.history(reply["task"]) == ["rejected"]


async def test_a_full_log_is_told_and_loses_nothing(stage):
    """Who asked hears at once that there is no room, and the submission is kept until there is."""
    small = type(stage)(MemoryBus(max_bytes=100))
    await small.start()
    (reply,) = await small.ask({"input": "x"})
    assert reply["status"] == "new"
    assert "kept, and taken in when there is room" in reply["reason"]
    assert await (await small.bus.submissions()).pending() == 1
    await small.stop()
    await small.bus.aclose()


async def test_the_client_is_told_at_once(stage):
    """The Python client raises before anything is published."""
    with pytest.raises(InvalidInput, match="max_cost must be from 0"):
        await stage.board.submit("x", max_cost=-1)
    for nothing in (object(), "half a pair: \ud800"):
        with pytest.raises(InvalidInput, match="not a task"):
            await stage.board.submit(nothing)


async def test_an_unknown_capability_is_rejected_with_a_hint(stage, say):
    """The reason says what is offered, and what was probably meant."""
    await stage.register("a", capabilities=("chat", "vision"))
    stage.work("a", say("x"))
    task = await stage.board.submit("x", needs={"capabilities": ["visoin"]})
    with pytest.raises(TaskFailed, match="unknown capability 'visoin'; did you mean 'vision'"):
        await task.result(5)


async def test_a_schema_is_not_ignored(stage, say):
    """A task whose answer must fit a schema goes to a backend that offers that, and is rejected if there is none."""
    await stage.register("cheap", Price())
    stage.work("cheap", say("{}"))
    task = await stage.board.submit("x", schema={"type": "object"})
    with pytest.raises(TaskFailed, match=r"the task has schema, and none offers that \(offered: chat\)"):
        await task.result(5)
    await stage.register("strict", capabilities=("chat", "schema"))
    stage.work("strict", say("{}"))
    task = await stage.board.submit("x", schema={"type": "object"})
    assert (await task.result(5)).backend == "strict"


async def test_a_prompt_that_fits_no_window_is_rejected(stage, say):
    """Five megabytes go through the blob store, and the reason names the window."""
    await stage.register("a", context=8192)
    stage.work("a", say("x"))
    task = await stage.board.submit("x" * 5_000_000)
    with pytest.raises(TaskFailed, match="1250005 tokens do not fit its window of 8192"):
        await task.result(5)


async def test_max_cost_is_kept(stage, say):
    """A task that would cost more than it may is rejected, with both amounts."""
    await stage.register("a")
    stage.work("a", say("x"))
    task = await stage.board.submit("x", max_cost=3)
    with pytest.raises(TaskFailed, match="would cost 517 micro-dollars, over max_cost 3"):
        await task.result(5)
