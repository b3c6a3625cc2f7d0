"""The command line with a node that runs in another process."""

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from servers.working_directory import ENVIRON, WAIT_S, Folder, end

import callboard
from callboard.deploy.cli import callboard as command
from callboard.deploy.cli.group import SECTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs."""
    folder = Folder(tmp_path_factory.mktemp("node"))
    node, folder.ready = folder.up()
    try:
        yield folder
    finally:
        end(node)


def test_help_loads_nothing_heavy():
    """`callboard --help` names every command and loads none of them, nor any client, nor rich."""
    heavy = ("ray", "httpx", "opentelemetry", "nats", "rich", "structlog", "callboard.deploy.node")
    code = (
        "import sys; from click.testing import CliRunner; from callboard.deploy.cli import callboard as command\n"
        "print(CliRunner().invoke(command, ['--help']).output)\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in told
    assert {"up", "submit", "why", "doctor"} <= {line.split()[0] for line in told.splitlines() if line.strip()}


def test_every_command_has_its_help():
    """Each command in the list can be loaded and says what it does."""
    for name in (name for section in SECTIONS.values() for name in section):
        told = CliRunner().invoke(command, [name, "--help"])
        assert told.exit_code == 0
        assert told.output.startswith(f"Usage: callboard {name}")


def test_up_tells_where_it_is_and_what_answers(folder):
    """The ready line has the address and every backend; functions are told from models, a missing key is named."""
    assert folder.ready["url"].startswith("nats://127.0.0.1:")
    assert folder.ready["fsync"] == "always"
    assert folder.ready["left_out"] == {"hosted": "OPENAI_API_KEY"}
    echo = next(backend for backend in folder.ready["backends"] if backend["backend"] == "echo")
    assert echo["callable"]
    assert echo["price"] == {"input": 1_000_000, "output": 2_000_000, "cached": None, "steps": []}


def test_submit_prints_the_answer(folder):
    """Text as argument, from standard input or from a file: the answer comes on standard output."""
    (folder.path / "ask.txt").write_text("from a file")
    assert folder.process("submit", "hello", "--backend", "echo") == "HELLO\n"
    assert folder.process("submit", "-", "--backend", "echo", stdin="piped") == "PIPED\n"
    assert folder.process("submit", "-f", "ask.txt", "--backend", "echo") == "FROM A FILE\n"


def test_submit_as_json_has_every_field(folder):
    """Money is whole micro-dollars, durations are whole nanoseconds, and no field is left out."""
    outcome = folder.json("submit", "hello", "--backend", "echo", "--max-cost", "0.01", "--priority", "3")
    assert outcome["output"] == "HELLO"
    assert outcome["status"] == "completed"
    assert outcome["usage"].keys() == {"input", "output", "cached"}
    assert outcome["cost"] == outcome["usage"]["input"] + 2 * outcome["usage"]["output"]
    assert isinstance(outcome["duration"], int)
    assert outcome["reason"] == ""


def test_submit_watch_prints_the_answer_as_it_is_written(folder):
    """All pieces together are the answer; as JSON each is a line, and the outcome is the last one."""
    assert folder.call("submit", "go", "--needs", "slow", "--watch").stdout == "one two three\n"
    lines = [
        json.loads(line)
        for line in folder.call("submit", "go", "--needs", "slow", "--watch", "--json").stdout.splitlines()
    ]
    assert "".join(line["token"] for line in lines[:-1]) == lines[-1]["output"] == "one two three"


def test_the_same_key_is_the_same_task(folder):
    """A task that is submitted again under its key is not done twice."""
    first, again = (folder.json("submit", "once", "--backend", "echo", "--key", "k1") for _ in range(2))
    assert first == again


def test_tasks_show_and_why_follow_a_task(folder):
    """A task is listed, shown with its history and calls, and its routing is explained, by id or by its end."""
    task = folder.json("submit", "follow me", "--tag", "followed", "--policy", "cheapest", "--timeout", "60s")["task"]
    listed = folder.json("tasks", "--tag", "followed", "--status", "completed")
    assert [row["id"] for row in listed["tasks"]] == [task]
    assert listed["counts"]["completed"] >= 1
    shown = folder.json("show", task[-8:])
    assert [step["event"] for step in shown["history"]] == ["submitted", "assigned", "started", "completed"]
    assert [step["version"] for step in shown["history"]] == [1, 2, 3, 4]
    assert [call["state"] for call in shown["calls"]] == ["completed"]
    why = folder.json("why", task)
    [decision] = why["assignments"]
    assert decision["policy"] == "cheapest/1"
    assert decision["seen"] > 0
    assert {candidate["backend"] for candidate in decision["candidates"]} == {"echo", "slow", "broken"}
    assert next(c["excluded"] for c in decision["candidates"] if c["backend"] == "broken") == "does not offer chat"
    assert decision["actual"]["calls"] == ["completed"]
    assert decision["actual"]["latency"] > 0
    told = folder.call("show", task).stdout
    assert "is completed on slow" in told
    assert "“follow me”" in told
    explained = folder.call("why", task).stdout
    assert "by cheapest/1" in explained
    assert "→" in explained
    assert "predicted" in explained
    assert task in folder.call("tasks").stdout


def test_score_is_kept_with_the_task(folder):
    """A judgement is told in the task's history and row; one out of bounds, or of no answer, is refused."""
    task = folder.json("submit", "judge me", "--backend", "echo")["task"]
    assert folder.call("score", task[-8:], "0.9", "--note", "nice").stdout == f"task {task}: user says 90%\n"
    assert folder.json("score", task, "0.5", "--source", "test")["scores"] == {"user": 900_000, "test": 500_000}
    assert "90% says user: nice" in folder.call("show", task).stdout
    assert "is not in the range 0<=x<=1" in folder.call("score", task, "2", code=2).stderr
    unanswered = folder.json("submit", "x", "--delay", "1h", "--no-wait")["task"]
    assert "there is no answer to judge" in folder.call("score", unanswered, "1", code=1).stderr


def test_costs_add_up(folder):
    """A tag's line has the sums of its tasks; the text has the same in dollars."""
    spent = [folder.json("submit", text, "--backend", "echo", "--tag", "sum")["cost"] for text in ("a", "bb")]
    costs = folder.json("costs", "--by", "tag")
    [line] = [line for line in costs["lines"] if line["key"] == "sum"]
    assert line["calls"] == 2
    assert line["cost"] == sum(spent)
    assert costs["total"]["cost"] >= sum(spent)
    assert f"${sum(spent) / 1e6:f}".rstrip("0") in folder.call("costs", "--by", "tag").stdout
    assert folder.json("costs", "--by", "day")["unknown"] == {}


def test_contexts_are_changed_forked_compared_and_merged(folder):
    """What is said and known in a context, and in a fork of it, until both have the same."""
    assert "no contexts" in folder.call("context").stdout
    assert folder.json("context", "say", "plan", "hello") == {"context": "plan", "version": 1}
    folder.call("context", "put", "plan", "colour", "red")
    folder.call("context", "put", "plan", "sizes", "[1, 2]")
    assert folder.call("context", "fork", "plan", "branch").stdout == "branch\n"
    assert folder.json("context", "fork", "plan@1")["at"] == 1
    folder.call("context", "say", "branch", "hi\nthere", "--role", "assistant")
    folder.call("context", "put", "branch", "colour", "blue")
    folder.call("context", "drop", "branch", "sizes")
    shown = folder.call("context", "diff", "plan", "branch").stdout
    assert shown == '+ assistant: hi there\n~ colour = "blue"\n- sizes\n'
    found = folder.json("context", "diff", "plan", "branch")
    assert [said["content"] for said in found["said"]] == ["hi\nthere"]
    assert (found["put"][0]["value"], found["dropped"]) == ("blue", ["sizes"])
    folder.call("context", "put", "plan", "colour", "green")
    assert "have both changed colour" in folder.call("context", "merge", "plan", "branch", code=1).stderr
    told = folder.call("context", "merge", "plan", "branch", "--prefer", "theirs").stdout
    assert "has taken over branch@4: 1 said; colour, sizes changed" in told
    assert 'colour: ours "green", theirs "blue"; theirs is kept' in told
    assert folder.json("context", "merge", "plan", "branch") is None
    plan = folder.json("context", "show", "plan")
    assert [message["origin"] for message in plan["messages"]] == ["plan:0", "branch:1"]
    assert (plan["facts"], plan["version"]) == ({"colour": "blue"}, 5)
    assert "forked from plan@3: 2 messages" in folder.call("context", "show", "branch").stdout
    assert folder.json("context", "show", "plan@1", "--raw")["messages"][0]["content"] == "hello"
    assert [row["context"] for row in folder.json("context")][1:] == ["branch", "plan"]
    assert "no difference" in folder.call("context", "diff", "plan@5", "plan").stdout


def test_schedules_are_set_listed_and_removed(folder):
    """Each time has its task, with the options of `submit`; wrong ones are told like there."""
    assert "no schedules" in folder.call("schedule").stdout
    planned = folder.json("schedule", "set", "tick", "* * * * * *", "tick tock", "--tag", "often", "--backend", "echo")
    assert (planned["cron"], planned["zone"], planned["times"], planned["last"]) == ("* * * * * *", "UTC", 0, None)
    told = folder.call("schedule", "set", "never-mind", "0 9 * * 1-5", "x", "--zone", "Europe/Lisbon").stdout
    assert told.startswith("schedule never-mind: next at 2")
    deadline = time.monotonic() + WAIT_S
    while not (tick := folder.json("schedule")[1])["last"]:
        assert time.monotonic() < deadline
    assert (tick["schedule"], tick["input"]) == ("tick", "tick tock")
    shown = folder.json("show", tick["last"]["task"])
    assert shown["spec"]["tags"] == ["often"]
    assert shown["spec"]["key"].startswith("schedule tick 2")
    assert "Europe/Lisbon" in folder.call("schedule").stdout
    assert folder.json("schedule", "remove", "tick") == {"schedule": "tick"}
    assert [row["schedule"] for row in folder.json("schedule")] == ["never-mind"]


def test_what_is_asked_is_approved_or_denied(folder):
    """By a part of its id; whoever asked hears it, and a second answer is told that it comes too late."""
    assert "nothing to approve" in folder.call("approvals").stdout
    ask = (
        "import asyncio, callboard\n"
        "async def main():\n"
        "    async with callboard.connect() as board:\n"
        "        asked = await board.ask({'mail': 'everybody'}, question='Send it?', by='writer', expires_s=600)\n"
        "        print(asked.id, flush=True)\n"
        "        ended = await asked.result(60)\n"
        "        print(ended.status, ended.by, ended.note)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", ask], cwd=folder.path, stdout=subprocess.PIPE, text=True, env=ENVIRON
    ) as asking:
        approval = asking.stdout.readline().strip()
        assert "Send it?" in folder.call("approvals").stdout
        [row] = folder.json("approvals")
        assert (row["approval"], row["action"], row["asked_by"]) == (approval, {"mail": "everybody"}, "writer")
        told = folder.call("approve", approval[-8:], "--by", "ann", "--note", "fine").stdout
        assert told == 'approved by ann: Send it? {"mail":"everybody"}\n'
        assert asking.stdout.read() == "approved ann fine\n"
    assert "was approved by ann" in folder.call("deny", approval, "--by", "bob", code=1).stderr
    assert folder.json("approvals") == []
    assert folder.json("approvals", "--all")[0]["note"] == "fine"


def test_budgets_are_set_shown_and_kept(folder):
    """A budget pays for tasks and says what is left; what does not fit is stopped, and told how to go on."""
    assert folder.json("budget", "set", "org", "--limit", "1usd")["left"] == 1_000_000
    folder.call("budget", "set", "team", "--limit", "0.5", "--parent", "org", "--on-breach", "stop")
    assert "part of org; on breach: stop" in folder.call("budget", "set", "team").stdout
    task = folder.json("submit", "hello", "--backend", "echo", "--budget", "team")
    team = folder.json("budget", "show", "team")[0]
    assert team["settled"] + team["held"] >= task["cost"]
    assert [row["budget"] for row in folder.json("budget")] == ["org", "team"]
    assert "  team" in folder.call("budget", "show", "org").stdout
    [decision] = folder.json("why", task["task"])["assignments"]
    assert decision["hold"]["budget"] == "team"
    assert decision["hold"]["amount"] >= task["cost"]
    assert "of budget team for at most" in folder.call("why", task["task"]).stdout
    assert "more than this limit" in folder.call("budget", "set", "team", "--limit", "0").stderr
    told = folder.call("submit", "hello", "--backend", "echo", "--budget", "team", code=1).stderr
    assert "budget team has 0usd left" in told
    assert "callboard budget set team --limit 0.0" in told
    folder.call("budget", "set", "team", "--limit", "0.5")
    [dead] = [row["id"] for row in folder.json("dead", "list") if "budget team" in row["reason"]]
    folder.call("dead", "requeue", dead)
    folder.until(dead, lambda shown: shown["status"] == "completed")


def test_a_task_reads_a_context(folder):
    """With or without a text; which version it read is shown, explained and listed."""
    folder.call("context", "say", "trip", "where to?")
    task = folder.json("submit", "--context", "trip", "--backend", "echo")
    assert task["output"] == "WHERE TO?"
    folder.call("context", "say", "trip", "to Lisbon", "--role", "assistant")
    assert folder.json("submit", "by train?", "--context", "trip", "--backend", "echo")["output"] == "BY TRAIN?"
    assert folder.json("submit", "--context", "trip@1", "--backend", "echo")["output"] == "WHERE TO?"
    told = "reads context trip@1: 1 message, about 7 tokens"
    assert told in folder.call("show", task["task"]).stdout
    assert told in folder.call("why", task["task"]).stdout
    assert folder.json("show", task["task"])["context"] == folder.json("why", task["task"])["context"] == "trip@1"
    assert folder.json("why", folder.submit("hi", "--backend", "echo"))["context"] is None
    [row] = [row for row in folder.json("tasks")["tasks"] if row["id"] == task["task"]]
    assert row["preview"] == "where to?"
    assert folder.json("schedule", "set", "trips", "0 9 * * *", "--context", "trip")["input"] == ""
    folder.call("schedule", "remove", "trips")


def test_cancel_stops_a_call(folder):
    """A running task is cancelled, once; what its call cost is told as wasted."""
    task = folder.submit("for ever", "--backend", "slow")
    folder.until(task, lambda shown: shown["status"] == "started")
    assert folder.json("cancel", task, "--reason", "enough")["reason"] == "enough"
    assert "was cancelled already" in folder.call("cancel", task).stdout
    shown = folder.until(task, lambda shown: not shown["unsettled"])
    assert [call["state"] for call in shown["calls"]] == ["wasted"]
    assert "wasted" in folder.call("why", task).stdout


def test_dead_letters_are_listed_and_requeued(folder):
    """What was given up is listed with the reason, and tried again on demand."""
    refused = folder.call("submit", "x", "--needs", "broken", code=1)
    assert "refused this task as invalid" in refused.stderr
    [row] = folder.json("dead", "list")
    assert row["status"] == "dead"
    assert row["id"] in folder.call("dead").stdout
    assert folder.json("dead", "requeue", row["id"]) == {"requeued": [row["id"]]}
    folder.until(row["id"], lambda shown: shown["status"] == "dead" and len(shown["calls"]) == 2)
    assert folder.json("dead", "requeue", "--all") == {"requeued": [row["id"]]}
    folder.until(row["id"], lambda shown: shown["status"] == "dead" and len(shown["calls"]) == 3)
    shown = folder.json("dead", "show", row["id"])
    assert [call["state"] for call in shown["calls"]] == ["failed"] * 3
    assert folder.json("costs")["unknown"] == {}


def test_backends_are_scaled_and_drained(folder):
    """A change is in the log at once, and is said to be none when it was so before."""
    scaled = {"backend": "echo", "replicas": 2, "draining": False, "held": False, "changed": True}
    assert folder.json("scale", "echo", "2", "--reason", "for the fair") == scaled
    assert folder.json("why", "echo")["chain"][-1]["told"] == "to 2 replicas: for the fair"
    assert folder.json("scale", "echo", "2")["changed"]
    assert "as before" in folder.call("scale", "echo", "2").stdout
    assert folder.json("drain", "echo")["draining"]
    told = folder.call("submit", "x", "--backend", "echo", "--timeout", "100ms", code=1)
    assert "expired" in told.stderr
    assert "draining: drained by hand" in folder.call("backends").stdout
    assert not folder.json("drain", "echo", "--undo")["draining"]
    echo = next(backend for backend in folder.json("backends") if backend["backend"] == "echo")
    assert echo["replicas"] == 2
    assert echo["breaker"] == "closed"
    assert "callable callable_backends:echo (not a model)" in folder.call("backends").stdout


def test_doctor_checks_everything(folder):
    """With a running node nothing fails; what is missing or unwell is a warning that says how to mend it."""
    found = {finding["check"]: finding for finding in folder.json("doctor")}
    assert found["key of hosted"]["level"] == "warn"
    assert found["node"]["told"].startswith("nats-server 2.")
    assert found["fsync"]["told"].startswith("always: ")
    assert found["stream EVENTS"]["level"] == found["queue router"]["level"] == found["log"]["level"] == "ok"


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("show", "nope"), 1, "callboard: no task 'nope': see `callboard tasks`"),
        (("show", "a.b"), 1, "is not valid: use 1 to 64 of"),
        (("cancel", "nope"), 1, "no task 'nope'"),
        (("submit", "x", "--max-cost", "-1"), 2, "must be a number >= 0, got -1"),
        (("submit", "x", "--max-cost", "lots"), 2, "not an amount in USD"),
        (("submit", "x", "--timeout", "5"), 2, 'must be a duration such as "250ms"'),
        (("submit", "x", "--needs", "chats"), 1, "unknown capability 'chats'; did you mean 'chat'?"),
        (("submit", "x", "--deadline", "2020-01-01T00:00:00Z"), 1, "is in the past"),
        (("submit", "x", "--deadline", "2090-01-01T00:00:00"), 1, "has no time zone"),
        (("submit", "x", "--policy", "wisest"), 1, "unknown policy 'wisest'"),
        (("submit", "x", "--watch", "--no-wait"), 2, "leave out --no-wait"),
        (("submit", ""), 1, "input is empty"),
        (("submit", "x", "--budget", "nope"), 1, "unknown budget 'nope'"),
        (("schedule", "set", "x", "soon", "hi"), 1, "cron 'soon' can't be read"),
        (("schedule", "set", "x", "0 9 * * *", "hi", "--zone", "Mars"), 1, "unknown time zone 'Mars'"),
        (("approve", "nope"), 1, "no approval 'nope'"),
        (("deny", "a.b"), 1, "no approval 'a.b'"),
        (("schedule", "remove", "nope"), 1, "no schedule 'nope'"),
        (("context", "show", "nobody"), 1, "no context 'nobody'"),
        (("context", "show", "plan@x"), 2, "after the @ comes a version, as in plan@3"),
        (("context", "say", "a.b", "x"), 1, "context 'a.b' is not valid"),
        (("submit", "x", "--context", "nobody"), 1, "no context 'nobody'"),
        (("submit", "x", "--context", "plan@x"), 1, "after the @ comes a version, as in plan@3"),
        (("schedule", "set", "x", "0 9 * * *"), 1, "input is empty"),
        (("budget", "set", "fresh"), 1, "budget 'fresh' is new: give it a limit"),
        (("budget", "set", "fresh", "--limit", "1", "--parent", "nope"), 1, "an unknown budget"),
        (("budget", "show", "nope"), 1, "unknown budget 'nope'"),
        (("tasks", "--status", "complete"), 2, "did you mean 'completed'?"),
        (("dead", "requeue"), 2, "name one TASK, or give --all"),
        (("taks",), 2, "did you mean 'tasks'?"),
        (("up",), 1, "is in use by the server of process"),
        (("up", "--role", "rooter"), 1, "unknown role 'rooter'"),
        (("up", "--url", "nats://127.0.0.1:1", "--port", "4222"), 2, "--port is for the NATS server inside"),
    ],
)
def test_mistakes_are_told_in_a_line(folder, args, code, told):
    """A mistake ends with its exit code, and a line on standard error that says how to mend it."""
    assert told in folder.call(*args, code=code).stderr


def test_interrupted_commands_end_with_130(folder):
    """Ctrl-C while a command waits: exit code 130 and no traceback; the task goes on."""
    waiting = folder.start("submit", "for ever", "--backend", "slow", "--watch", "--tag", "left")
    assert waiting.stdout.read(4) == "one "
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=WAIT_S)
    assert waiting.returncode == 130
    assert "Traceback" not in told
    [row] = folder.json("tasks", "--tag", "left")["tasks"]
    assert row["status"] == "started"
    folder.call("cancel", row["id"])


async def test_connect_finds_the_node_by_its_folder(folder):
    """`callboard.connect` gives a board on which tasks are submitted and answered."""
    async with callboard.connect(data=str(folder.path / ".callboard")) as board:
        handle = await board.submit("from python", backend="echo")
        outcome = await handle.result(timeout_s=WAIT_S)
    assert outcome.output == "FROM PYTHON"
