"""Cascades, advice and scores on a real nats-server, as a person and a plain NATS client use them."""

import asyncio
import json

import nats
import pytest
from servers.working_directory import Folder, end

SETTINGS = """
[router.agent]
backend = "adviser"
timeout = "3s"
fallback = "cheapest"

[checks.is_long]
function = "callable_backends:is_long"

[backends.curt]
provider = "callable"
function = "callable_backends:curt"
capabilities = ["chat", "work"]
tier = "small"
price = { input = 1, output = 1 }

[backends.chatty]
provider = "callable"
function = "callable_backends:chatty"
capabilities = ["chat", "work"]
tier = "frontier"
price = { input = 10, output = 10 }

[backends.adviser]
provider = "callable"
function = "callable_backends:advises"
capabilities = ["chat", "schema"]
price = { input = 1, output = 1 }
"""
WORK = ("--needs", "work", "--needs", "chat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs; a test may put another in its place."""
    folder = Folder(tmp_path_factory.mktemp("policies"))
    (folder.path / "callboard.toml").write_text(SETTINGS)
    folder.node, folder.ready = folder.up()
    try:
        yield folder
    finally:
        end(folder.node)


def test_a_cascade_escalates(folder):
    """The cheap answer is declined by a function of the user's own; every command tells so."""
    outcome = folder.json("submit", "tell me", *WORK, "--policy", "cascade", "--check", "is_long", "--tag", "cascaded")
    assert (outcome["backend"], outcome["calls"], outcome["scores"]) == ("chatty", 2, {"cascade": 1_000_000})
    shown = folder.json("show", outcome["task"])
    assert [step["event"] for step in shown["history"]] == [
        "submitted", "assigned", "started", "answered", "declined", "assigned", "started", "completed", "evaluated",
    ]  # fmt: skip
    assert [call["state"] for call in shown["calls"]] == ["declined", "completed"]
    assert shown["cost"] == sum(call["cost"] for call in shown["calls"])
    why = folder.json("why", outcome["task"])["assignments"]
    assert [(each["backend"], each["check"], each["policy"]) for each in why] == [
        ("curt", "is_long", "cascade/1"),
        ("chatty", "is_long", "cascade/1"),
    ]
    assert "the answer has to pass is_long" in folder.call("why", outcome["task"]).stdout
    line = next(line for line in folder.json("costs", "--by", "tag")["lines"] if line["key"] == "cascaded")
    assert (line["cost"], line["wasted"]) == (outcome["cost"], shown["calls"][0]["cost"])


def test_a_wrong_name_is_refused_in_one_line(folder):
    """With what was probably meant."""
    for args, said in (
        (("--policy", "cascade", "--check", "is_lng"), "unknown check 'is_lng'; did you mean 'is_long'?"),
        (("--policy", "cascadee"), "unknown policy 'cascadee'; did you mean 'cascade'?"),
        (("--policy", "cheapest", "--check", "is_long"), "only the policy 'cascade' verifies answers"),
    ):
        told = folder.call("submit", "x", *WORK, *args, code=1).stderr
        assert said in told
        assert len(told.strip().splitlines()) == 1


def test_an_adviser_is_asked(folder):
    """A callable, labelled as one; its question is a task below the one that it is about."""
    outcome = folder.json("submit", "where to?", *WORK, "--policy", "agent")
    shown = folder.json("show", outcome["task"])
    advised = next(step for step in shown["history"] if step["event"] == "advised")
    assert advised["told"].endswith("the last is the best")
    [choice] = folder.json("why", outcome["task"])["assignments"]
    assert choice["reason"] == "advised: the last is the best"
    question = folder.json("show", advised["told"].split()[3].rstrip(":"))
    assert question["spec"]["parent"] == outcome["task"]
    assert any(line["key"] == "routing-advice" for line in folder.json("costs", "--by", "tag")["lines"])


def test_a_node_that_dies_while_it_waits_for_advice(folder):
    """Started again, it does not wait longer than it would have, and asks nobody twice."""
    task = folder.submit("undecided", *WORK, "--policy", "agent")
    folder.until(task, lambda shown: shown["status"] == "parked")
    folder.node.kill()
    folder.node.wait()
    folder.node.stdout.close()
    folder.node, folder.ready = folder.up()
    shown = folder.until(task, lambda shown: shown["history"][-1]["event"] == "completed")
    events = [step["event"] for step in shown["history"]]
    assert events.count("advised") == events.count("completed") == 1
    assert shown["backend"] == "curt"
    advised = next(step for step in shown["history"] if step["event"] == "advised")
    assert "no advice" in advised["told"]


def test_scores_come_from_anything_that_speaks_nats(folder):
    """One JSON message with a reply subject, as from any language."""
    done = folder.json("submit", "x", *WORK)

    async def publish(*messages: dict) -> list[dict]:
        client = await nats.connect(folder.ready["url"])
        replies = [await client.request("submit.score", json.dumps(each).encode(), timeout=10) for each in messages]
        await client.close()
        await asyncio.sleep(0.1)  # its socket is closed a little later, and must be before the loop ends
        return [json.loads(reply.data) for reply in replies]

    good = {"task": done["task"], "score": 0.9, "source": "test", "note": "as wanted"}
    told = asyncio.run(publish(good, good, {"task": "nowhere", "score": 1}, {"task": done["task"], "scor": 1}))
    assert told[:2] == [{"task": done["task"], "status": "scored"}] * 2
    assert [reply["status"] for reply in told[2:]] == ["refused", "refused"]
    assert "unknown task 'nowhere'" in told[2]["reason"]
    assert "did you mean 'score'?" in told[3]["reason"]
    history = folder.json("show", done["task"])["history"]
    assert [step["told"] for step in history if step["event"] == "evaluated"] == ["90% says test: as wanted"]
