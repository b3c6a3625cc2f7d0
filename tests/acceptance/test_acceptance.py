"""What Callboard promises, seen from outside: by the command line, the Python client and plain NATS.

The tests share one place and stand in an order: the last one audits the log of all others.
"""

import asyncio
import json
import time
from collections import Counter

import nats
import pytest

import callboard

pytestmark = pytest.mark.timeout(180)

WAIT_S = 60
FLOW = 60


def until(seen, reached):
    """What is seen, as soon as it is as wanted."""
    deadline = time.monotonic() + WAIT_S
    while not reached(now := seen()):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def events(shown: dict) -> list[str]:
    """What happened to a task, as `callboard show` tells it."""
    return [step["event"] for step in shown["history"]]


def test_a_task_is_answered(place):
    """By the command line, and by the Python client, word for word."""
    outcome = place.json("submit", "hello", "--backend", "echo", "--tag", "greeting")
    assert (outcome["status"], outcome["output"], outcome["backend"]) == ("completed", "HELLO", "echo")

    async def streamed() -> tuple[str, str]:
        async with place.board() as board:
            handle = await board.submit("count", backend="slow", stream=True)
            words = "".join([str(token) async for token in handle.stream()])
            return words, (await handle.result(WAIT_S)).output

    assert asyncio.run(streamed()) == ("one two three", "one two three")


def test_plain_nats_is_enough(place):
    """Any language can ask: one JSON object, and the answer comes to the reply subject."""

    async def ask(message: object) -> dict:
        client = await nats.connect(place.address)
        try:
            return json.loads((await client.request("submit.task", json.dumps(message).encode(), timeout=WAIT_S)).data)
        finally:
            await client.close()

    assert asyncio.run(ask({"input": "from outside", "backend": "echo"}))["output"] == "FROM OUTSIDE"
    refused = asyncio.run(ask({"input": "x", "no_such_field": 1}))
    assert refused["status"] == "rejected"
    assert "no_such_field" in refused["reason"]


def test_a_call_is_cancelled(place):
    """It is stopped, and whoever waits is told."""

    async def cancelled() -> str:
        async with place.board() as board:
            handle = await board.submit("for ever", backend="slow", stream=True)
            async for _ in handle.stream():
                break
            await handle.cancel("not needed")
            with pytest.raises(callboard.TaskFailed, match="not needed"):
                await handle.result(WAIT_S)
            return handle.id

    task = asyncio.run(cancelled())
    assert place.until(task, lambda shown: shown["status"] == "cancelled")


def test_a_task_that_is_late_expires(place):
    """Nobody waits longer than was asked for."""
    late = place.json("submit", "for ever", "--backend", "slow", "--timeout", "0.5s", code=1)
    assert late["status"] == "expired"


def test_a_dead_letter_is_requeued(place):
    """It is kept with its reason; after the cause is mended it is done."""
    dead = place.json("submit", "do it", "--backend", "moody", code=1)
    assert dead["status"] == "dead"
    assert [row["id"] for row in place.json("dead", "list")] == [dead["task"]]
    assert "not today" in place.json("dead", "show", dead["task"])["calls"][0]["why"]
    (place.path / "mended").touch()
    place.call("dead", "requeue", dead["task"])
    place.until(dead["task"], lambda shown: shown["status"] == "completed")


def test_a_budget_stops(place):
    """What it can't pay for is not begun, and every micro-dollar is accounted for."""
    place.call("budget", "set", "team", "--limit", "0.5", "--on-breach", "stop")
    paid = place.json("submit", "hello", "--backend", "echo", "--budget", "team")
    assert place.json("budget", "show", "team")[0]["left"] <= 500_000 - paid["cost"]
    place.call("budget", "set", "team", "--limit", "0.000001")
    told = place.call("submit", "hello", "--backend", "echo", "--budget", "team", code=1).stderr
    assert "budget team" in told


def test_a_cascade_is_explained_and_scored(place):
    """A cheap answer is not good enough; `why`, `costs` and scores tell the story."""
    asked = ("submit", "tell me", "--needs", "work", "--policy", "cascade", "--check", "is_long", "--tag", "cascaded")
    outcome = place.json(*asked)
    assert (outcome["backend"], outcome["calls"], outcome["scores"]) == ("chatty", 2, {"cascade": 1_000_000})
    why = place.json("why", outcome["task"])["assignments"]
    assert [each["backend"] for each in why] == ["curt", "chatty"]
    place.call("score", outcome["task"], "0.5")
    shown = place.until(outcome["task"], lambda shown: events(shown).count("evaluated") == 2)
    [line] = [line for line in place.json("costs", "--by", "tag")["lines"] if line["key"] == "cascaded"]
    assert line["cost"] == shown["cost"] == sum(call["cost"] for call in shown["calls"])


def test_a_schedule_fires(place):
    """Again and again, each time as a task."""
    place.call("schedule", "set", "tick", "* * * * * *", "tick", "--backend", "echo")
    seen = until(lambda: place.json("schedule", "list"), lambda rows: rows[0]["times"] >= 2)
    place.call("schedule", "remove", "tick")
    place.until(seen[0]["last"]["task"], lambda shown: shown["status"] == "completed")


def test_an_agent_uses_its_tool(place):
    """It lives in a host; its model asks for the tool, and the answer tells what it gave."""
    assert place.call("send", "adder/one", "20 and 22?").stdout == "It is 42.\n"


def test_replicas_follow_the_log_while_tasks_flow(place):
    """One, three, none, one: each task is done once, whoever comes and goes meanwhile."""

    async def flow() -> Counter[str]:
        async with place.board() as board:
            handles = [await board.submit(f"count {number}", backend="slow") for number in range(FLOW)]
            for replicas in (3, 0, 1):
                await asyncio.to_thread(place.call, "scale", "slow", str(replicas))
                await asyncio.sleep(0.2)
            return Counter([(await handle.result(WAIT_S)).output for handle in handles])

    assert asyncio.run(flow()) == {"one two three": FLOW}


def test_without_replicas_work_waits(place):
    """A backend that has none keeps what it was given, until it has one."""
    assert place.json("scale", "slow", "0")["replicas"] == 0
    task = place.submit("count", "--backend", "slow")
    time.sleep(1)
    assert place.json("show", task)["status"] not in ("started", "completed")
    place.call("scale", "slow", "1")
    place.until(task, lambda shown: shown["status"] == "completed")


def test_a_drained_backend_gets_no_work(place):
    """Until it is taken back."""
    assert place.json("drain", "curt")["draining"]
    task = place.submit("tell me", "--backend", "curt")
    time.sleep(0.5)
    assert not place.json("show", task)["calls"]
    place.call("drain", "curt", "--undo")
    place.until(task, lambda shown: shown["status"] == "completed")


def test_all_of_it_may_end_and_begin_again(place):
    """What was submitted before is done after, once; replicas are as the log wants them."""
    place.call("scale", "slow", "2")
    tasks = [place.submit("count", "--backend", "slow") for _ in range(4)]
    place.down()
    place.up()
    for task in tasks:
        shown = place.until(task, lambda shown: shown["status"] == "completed")
        assert events(shown).count("completed") == 1
    assert next(row["replicas"] for row in place.json("backends") if row["backend"] == "slow") == 2


def test_the_audit_is_clean(place):
    """Nothing in the log was altered, and all of it was done by the rules."""
    report = place.json("audit")
    assert report["result"] == "clean", report["findings"]
    assert report["checked"]
