"""Time travel on the command line, with a node that runs in another process."""

import asyncio
import json
import signal
import subprocess
import time

import pytest
from servers.working_directory import COMMAND, ENVIRON, WAIT_S, Folder, end

from callboard.actors.projector import SNAPSHOT
from callboard.actors.snapshots import ProjectionSnapshots
from callboard.bus import jetstream
from callboard.projections.cost import COST, Line
from callboard.projections.live import LIVE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs, and some tasks and a budget have been."""
    folder = Folder(tmp_path_factory.mktemp("replay"))
    node, folder.ready = folder.up()
    folder.call("budget", "set", "team", "--limit", "1usd")
    folder.first = folder.json("submit", "one", "--backend", "echo", "--budget", "team")["task"]
    folder.between = folder.json("replay")
    folder.second = folder.json("submit", "two", "--backend", "echo", "--tag", "later")["task"]
    folder.call("context", "say", "plan", "hello")
    try:
        yield folder
    finally:
        end(node)


def test_the_summary_of_any_moment(folder):
    """By sequence, by time or by how long ago; what came later is not in it."""
    before, now = folder.json("replay", "--until", str(folder.between["seq"])), folder.json("replay")
    assert before["tasks"] == {"completed": 1}
    assert now["tasks"] == {"completed": 2}
    assert before["cost"]["calls"] == 1
    assert now["seq"] == now["end"] > before["seq"]
    assert [row["budget"] for row in before["budgets"]] == ["team"]
    by_time = folder.json("replay", "--until", folder.between["time"])
    assert by_time["tasks"] == before["tasks"]
    assert folder.json("replay", "--until", "0.001ms ago")["tasks"] == now["tasks"]
    assert folder.json("replay", "--until", "0")["tasks"] == {}
    told = folder.call("replay", "--until", str(folder.between["seq"])).stdout
    assert f"at {folder.between['seq']} of " in told
    assert "1 completed" in told


def test_a_projection_then(folder):
    """The whole state, as JSON and as text."""
    then = folder.json("replay", "--projection", "tasks", "--until", str(folder.between["seq"]))
    assert [*then["state"]["ended"]["newer"]] == [folder.first]
    assert (then["projection"], then["seq"]) == ("tasks", folder.between["seq"])
    for name in (*(each.name for each in LIVE), "agents", "traces"):
        assert folder.json("replay", "--projection", name)["projection"] == name
        assert folder.call("replay", "--projection", name).stdout.startswith(f"projection {name} at ")


def test_an_entity_then_and_its_next_event(folder):
    """Any kind, by a part of its id too; before it was there it says when it begins."""
    events = [json.loads(line) for line in followed(folder, "--entity", f"task/{folder.second[-8:]}")]
    assert [event["event"] for event in events] == ["submitted", "assigned", "started", "completed"]
    seqs = [event["seq"] for event in events]
    then = folder.json("replay", "--entity", f"task/{folder.second}", "--until", str(seqs[1]))
    assert (then["entity"], then["version"]) == (f"task/{folder.second}", 2)
    assert then["state"]["status"] == "assigned"
    assert (then["last"]["event"], then["next"]["event"], then["next"]["seq"]) == ("assigned", "started", seqs[2])
    told = folder.call("replay", "--entity", f"task/{folder.second}", "--until", str(seqs[1])).stdout
    assert f"next: {seqs[2]}" in told
    too_early = folder.call("replay", "--entity", f"task/{folder.second}", "--until", "1", code=1).stderr
    assert f"it begins at {seqs[0]}" in too_early
    assert folder.json("replay", "--entity", "budget/team")["state"]["limit"] == 1_000_000
    assert folder.json("replay", "--entity", "backend/echo")["state"]["spec"]["provider"] == "callable"
    assert "nothing yet" in folder.call("replay", "--entity", "context/plan").stdout


def followed(folder, *options: str) -> list[str]:
    end_now = str(folder.json("replay")["end"])
    return folder.call("replay", "--follow", "--until", end_now, "--json", *options).stdout.splitlines()


def test_events_one_a_line(folder):
    """All of them, or those of some kinds, since a moment; with a phrase that tells what happened."""
    every = [json.loads(line) for line in followed(folder)]
    assert [event["seq"] for event in every] == sorted(event["seq"] for event in every)
    assert {event["entity"].partition("/")[0] for event in every} == {"backend", "budget", "task", "context"}
    some = [json.loads(line) for line in followed(folder, "--kind", "budget", "--kind", "context")]
    assert {event["entity"].partition("/")[0] for event in some} == {"budget", "context"}
    since = [json.loads(line) for line in followed(folder, "--since", str(folder.between["seq"]))]
    assert min(event["seq"] for event in since) > folder.between["seq"]
    line = folder.call("replay", "--follow", "--until", str(every[-1]["seq"]), "--speed", "1000000").stdout
    assert "by echo (callable_backends:echo)" in line
    assert "user: “hello”" in line


def test_what_comes_is_followed(folder):
    """Until it is stopped."""
    command = [*COMMAND, "replay", "--follow", "--kind", "context", "--json"]
    with subprocess.Popen(command, cwd=folder.path, env=ENVIRON, stdout=subprocess.PIPE, text=True) as following:
        try:
            told = json.loads(following.stdout.readline())["told"]
            folder.call("context", "say", "plan", "again")
            again = json.loads(following.stdout.readline())["told"]
        finally:
            following.terminate()
        assert following.wait(WAIT_S) == -signal.SIGTERM
    assert (told, again) == ("user: “hello” by command line", "user: “again” by command line")


def test_what_differs_between_two_moments(folder):
    """Path by path, from the one to the other."""
    then, now = str(folder.between["seq"]), str(folder.json("replay")["end"])
    found = folder.json("replay", "--projection", "tasks", "--diff", then, "--until", now)
    assert (found["from"], found["to"]) == (int(then), int(now))
    by_path = {each["path"]: each for each in found["differences"]}
    assert by_path["tasks.counts.completed"] | {} == {
        "path": "tasks.counts.completed", "change": "changed", "before": 1, "after": 2,
    }  # fmt: skip
    assert by_path[f"tasks.ended.newer.{folder.second}"]["change"] == "added"
    assert "~ tasks.counts.completed: 1 → 2" in folder.call("replay", "--diff", then, "--until", now).stdout
    assert folder.json("replay", "--diff", now, "--until", now)["differences"] == []


def test_the_live_state_is_what_the_log_says(folder):
    """The node saves what it has in memory, and folding the log from nothing gives the same; else the code is 1."""
    deadline = time.monotonic() + WAIT_S
    while folder.json("replay", "--diff", "live")["compared"]["cost"] < folder.json("replay")["end"]:
        assert time.monotonic() < deadline
    assert "are the same" in folder.call("replay", "--diff", "live").stdout

    async def tamper() -> int:
        bus = await jetstream.connect(folder.ready["url"])
        snapshots, end_now = ProjectionSnapshots(bus, SNAPSHOT), await bus.log.end()
        states, seq = await snapshots.load(LIVE, end_now)
        wrong = states | {"cost": states["cost"].__class__(total=Line(calls=99))}
        await snapshots.save(LIVE, wrong, seq)
        await bus.aclose()
        return seq

    seq = str(asyncio.run(tamper()))
    found = folder.json("replay", "--diff", "live", "--until", seq, code=1)
    assert {each["path"].partition(".")[0] for each in found["differences"]} == {"cost"}
    assert "~ cost.total.calls: 2 → 99" in folder.call("replay", "--diff", "live", "--until", seq, code=1).stdout
    assert COST.name in found["compared"]


def test_why_an_event_happened(folder):
    """By its sequence, its id or a part of that: from the submission on, with the decision on the way."""
    events = [json.loads(line) for line in followed(folder, "--entity", f"task/{folder.second}")]
    completed = events[-1]
    for meant in (str(completed["seq"]), completed["id"], completed["id"][:18], completed["id"][-12:]):
        found = folder.json("why", meant)
        assert [link["event"] for link in found["chain"]] == ["submitted", "assigned", "started", "completed"]
        assert found["seq"] == completed["seq"]
    decision = found["chain"][1]["decision"]
    assert (decision["backend"], decision["prices"]["echo"]["output"]) == ("echo", 2_000_000)
    assert "└" in folder.call("why", str(completed["seq"])).stdout
    assert [link["id"] for link in folder.json("why", events[0]["id"])["chain"]] == [events[0]["id"]]


def test_why_a_task_or_another_entity(folder):
    """Of a task its decisions, with prices and budget hold; of others their last event."""
    why = folder.json("why", folder.first)
    [decision] = why["assignments"]
    assert decision["prices"]["echo"]["input"] == 1_000_000
    assert decision["hold"]["budget"] == "team"
    assert [link["event"] for link in why["chain"]] == ["submitted"]
    assert "$1.00 / $2.00" in folder.call("why", folder.first).stdout
    assert folder.json("why", f"task/{folder.first}") == why
    budget = folder.json("why", "budget/team")
    assert (budget["entity"], budget["budget"]["limit"]) == ("budget/team", 1_000_000)
    assert "budget team then: limit $1.00, spent" in folder.call("why", "budget/team").stdout
    assert folder.json("why", "context/plan")["chain"][-1]["event"] == "changed"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("replay", "--until", "999999"), 1, "is beyond the log's end: its last sequence is"),
        (("replay", "--until", "2999-01-01"), 1, "is yet to come"),
        (("replay", "--until", "2001-01-01"), 1, "is before the log's first event"),
        (("replay", "--until", "noon"), 1, "must be a log sequence as 1234, a time as"),
        (("replay", "--until", "soon ago"), 1, "must be a duration"),
        (("replay", "--projection", "task"), 1, "unknown projection 'task'; did you mean 'tasks'?"),
        (("replay", "--entity", "backend/ecko"), 1, "no backend 'ecko'; did you mean 'echo'?"),
        (("replay", "--entity", "bakend/echo"), 1, "unknown kind 'bakend'; did you mean 'backend'?"),
        (("replay", "--entity", "echo"), 1, "must be KIND/ID"),
        (("replay", "--entity", "task/nowhere"), 1, "no task 'nowhere'"),
        (("replay", "--follow", "--speed", "fast"), 1, "--speed must be a number over 0"),
        (("replay", "--follow", "--kind", "tsk"), 1, "unknown kind 'tsk'; did you mean 'task'?"),
        (("replay", "--projection", "tasks", "--entity", "task/x"), 2, "don't go together"),
        (("replay", "--speed", "2"), 2, "are for --follow"),
        (("replay", "--diff", "live", "--follow"), 2, "--diff compares projections"),
        (("why", "999999"), 1, "the log has no message at 999999"),
        (("why", "01234567-89ab-7def-8000-000000000000"), 1, "no event '01234567-89ab-7def-8000-000000000000'"),
        (("why", "nowhere"), 1, "no task 'nowhere'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(folder, args, code, said):
    """With what was probably meant."""
    assert said in folder.call(*args, code=code).stderr
