"""Scores from anybody, on plain NATS: taken in, kept for a while, or refused in words."""

import asyncio
import re

import pytest

from callboard.actors import scores
from callboard.events.task import Status
from callboard.projections.learning import LEARNING
from callboard.projections.tasks import TASKS

TO = "submit.score"


async def test_anybody_can_score_an_answer(stage, say):
    """One JSON message is enough; the score is with the task, and the reply says so."""
    await stage.register("a")
    stage.work("a", say("4"))
    task = await stage.board.submit("2+2")
    await task.result(5)
    (reply,) = await stage.ask({"task": task.id, "score": 0.25, "source": "test", "note": "short"}, to=TO)
    assert reply == {"task": task.id, "status": "scored"}
    assert (await task.state()).scores == {"test": 250_000}
    (again,) = await stage.ask({"task": task.id, "score": 0.25, "source": "test", "note": "short"}, to=TO)
    assert again["status"] == "scored"
    assert (await stage.history(task.id)).count("evaluated") == 1


async def test_a_score_that_comes_too_early_is_kept(stage):
    """It is told so at once, and added when the task has its answer."""
    gate = asyncio.Event()

    async def answer(_):
        await gate.wait()
        return "4"

    await stage.register("a")
    stage.work("a", answer)
    task = await stage.board.submit("2+2")
    (reply,) = await stage.ask({"task": task.id, "score": 1}, to=TO)
    assert reply["status"] == "kept"
    assert "its score is kept for 600 s" in reply["reason"]
    gate.set()
    await task.result(5)
    while not (await task.state()).scores:
        await asyncio.sleep(0.01)
    assert (await task.state()).scores == {"user": 1_000_000}


async def test_a_score_is_not_kept_for_ever(stage, monkeypatch):
    """When its task has not ended in time, it is refused, and no longer waits."""
    monkeypatch.setattr(scores, "KEPT_S", 0.0)
    task = await stage.board.submit("x", delay_s=60)
    while (await task.state()).status is not Status.PARKED:
        await asyncio.sleep(0.01)
    (reply,) = await stage.ask({"task": task.id, "score": 1}, to=TO)
    assert reply["status"] == "refused"
    assert re.search(r"is still parked \d+ s later: score its answer then", reply["reason"])
    queue = await stage.bus.submissions(TO)
    while await queue.pending():
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"{", "not JSON: .*; send one JSON object such as"),
        ({"task": "none", "score": 1}, "unknown task 'none'"),
        ({"task": "a.b", "score": 1}, "task 'a.b' is not valid"),
        ({"score": 1}, "not a score: Object missing required field `task`"),
        ({"task": "T"}, "missing required field `score`"),
        ({"task": "T", "score": "good"}, r"Expected `float`, got `str` - at `\$.score`"),
        ({"task": "T", "score": 1, "sorce": "user"}, "unknown field 'sorce'; did you mean 'source'?"),
        ({"task": "T", "score": 2}, "a score must be from 0 to 1, got 2"),
        ({"task": "T", "score": 1, "source": "usr"}, "unknown source 'usr'; did you mean 'user'.; known: user, test"),
        ({"task": "T", "score": 1, "note": "x" * 2001}, "the note has 2001 characters: at most 2000"),
    ],
)
async def test_what_is_no_score_is_refused_in_words(stage, say, message, reason):
    """The sender is told what is wrong, and nothing is appended."""
    await stage.register("a")
    stage.work("a", say("4"))
    task = await stage.board.submit("2+2", id="T")
    await task.result(5)
    (reply,) = await stage.ask(message, to=TO)
    assert reply["status"] == "refused"
    assert re.search(reason, reply["reason"])
    assert not (await task.state()).scores


async def test_a_router_has_learned_before_the_next_task_comes(stage, say):
    """What to expect is solved for when the score is seen, not when somebody waits for a decision."""
    await stage.register("a")
    stage.work("a", say("4"))
    task = await stage.board.submit("2+2")
    await task.result(5)
    await stage.ask({"task": task.id, "score": 0.5}, to=TO)
    await stage.projector.reached(await stage.bus.log.end())
    await asyncio.sleep(0)
    (evidence,) = stage.projector.state(LEARNING).quality.by_backend.values()
    assert evidence.judged == 1
    assert "solution" in vars(evidence.regression.sums)


async def test_a_score_that_comes_too_late_stays_with_its_task(stage, say, monkeypatch):
    """Nothing is learned of what the quality estimates have forgotten; the task keeps its score all the same."""
    monkeypatch.setattr("callboard.projections.learning.KEPT", 1)
    await stage.register("a")
    stage.work("a", say("4"))
    tasks = [await stage.board.submit("2+2") for _ in range(4)]
    for task in tasks:
        await task.result(5)
    await stage.projector.reached(await stage.bus.log.end())
    (reply,) = await stage.ask({"task": tasks[0].id, "score": 0.5}, to=TO)
    assert reply["status"] == "scored"
    await stage.projector.reached(await stage.bus.log.end())
    assert (await tasks[0].state()).scores == {"user": 500_000}
    assert stage.projector.state(TASKS).ended.get(tasks[0].id).score == 500_000
    assert "a" not in stage.projector.state(LEARNING).quality.by_backend


async def test_a_task_without_an_answer_can_not_be_scored(stage):
    """A cancelled task is refused at once, without waiting."""
    task = await stage.board.submit("x", delay_s=60)
    await task.cancel()
    (reply,) = await stage.ask({"task": task.id, "score": 1}, to=TO)
    assert (reply["status"], reply["task"]) == ("refused", task.id)
    assert "is cancelled: there is no answer to judge" in reply["reason"]
