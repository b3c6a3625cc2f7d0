"""The command line with agents that live in another process, the examples first."""

import json
import shutil
import time
from pathlib import Path

import pytest
from servers.working_directory import WAIT_S, Folder, end

EXAMPLES = Path(__file__).parents[2] / "examples"
ERRATIC = """
import callboard

@callboard.agent("erratic")
async def handle(turn: callboard.Turn, number: int) -> int:
    if number > 100:
        raise callboard.Refusal("only up to 100")
    return 10 // await turn.run("look", lambda: number)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the examples, where a node runs."""
    folder = Folder(tmp_path_factory.mktemp("agents"))
    shutil.copytree(EXAMPLES, folder.path, dirs_exist_ok=True)
    (folder.path / "erratic.py").write_text(ERRATIC)
    node, folder.ready = folder.up()
    try:
        yield folder
    finally:
        end(node)


@pytest.fixture
def live(folder):
    """Lets the agents of a file live, until the test is over."""
    running = []

    def living(file: str) -> dict:
        process, ready = folder.serve("run", file)
        running.append(process)
        return ready

    yield living
    for process in running:
        end(process)


def approval(folder) -> dict:
    deadline = time.monotonic() + WAIT_S
    while not (found := folder.json("approvals")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


def test_an_agent_with_a_tool(folder, live):
    """The model that stands in calls the tool, and the answer tells its result."""
    assert live("greeter.py")["agents"] == ["greeter"]
    told = folder.call("send", "greeter/ann", "What time is it in Europe/Lisbon?").stdout
    assert told.startswith("It is ")
    said = folder.json("context", "show", "greeter--ann")
    assert [message["role"] for message in said["messages"]] == ["user", "assistant", "tool", "assistant"]


def test_a_crew_hands_over_and_asks(folder, live):
    """The researchers are asked, a person approves, and the archive has what was published."""
    live("crew.py")
    message = folder.json("send", "editor/1", "the Tagus", "--no-wait")["message"]
    asked = approval(folder)
    assert asked["asked_by"] == "editor--1"
    folder.call("approve", asked["approval"])
    deadline = time.monotonic() + WAIT_S
    while not (shown := folder.json("agents", "show", "editor/1"))["finished"]:
        assert time.monotonic() < deadline
    assert shown["memory"] == {"published": 1}
    assert shown["events"][0]["data"]["message"] == message
    names = {row["agent"]: row["doing"] for row in folder.json("agents")}
    assert {"editor/1", "researcher/where", "researcher/who"} <= names.keys()
    assert folder.json("context", "show", "published")["messages"][0]["content"].count("I have read") == 2


def test_other_code_is_rehearsed_on_what_happened(folder, live):
    """By the same code all is the same, by other code it is said where the ways part; nothing is done."""
    live("crew.py")
    folder.call("send", "researcher/when", "when is it?")
    crew = (folder.path / "crew.py").read_text()
    (folder.path / "wordy.py").write_text(crew.replace("In one sentence", "In two sentences"))
    before = folder.json("replay")["end"]
    (found,) = folder.json("replay", "--what-if", "agents=wordy.py,baseline=crew.py,agent=researcher/when")
    assert found["observed"]["steps"] == ["ask"]
    assert found["baseline"]["end"] == "same"
    why = "asks 'In two sentences: when is it?', it asked 'In one sentence: when is it?'"
    assert found["candidate"]["divergence"] == {"step": "ask", "why": why}
    told = folder.call("replay", "--what-if", "agents=wordy.py,agent=researcher/when").stdout
    assert "wordy.py: of 1 messages 0 end the same, 0 otherwise by the same answers, and 1 leave the record" in told
    assert folder.json("replay")["end"] == before


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("agents=nope.py", "no file nope.py: name a Python file that defines agents"),
        ("agents=crew.py,agent=writer/1", "crew.py defines no agent 'writer': there are researcher, editor"),
        ("agents=crew.py,agnt=a", "unknown 'agnt'; did you mean 'agent'?"),
        ("agents=", "write --what-if agents=FILE"),
        ("agent=crew.py", "write --what-if agents=FILE"),
    ],
)
def test_what_cannot_be_rehearsed_is_said_in_a_line(folder, asked, why):
    """A file or a name that there is not."""
    refused = folder.call("replay", "--what-if", asked, code=1).stderr
    assert why in refused
    assert refused.count("\n") == 1


def test_a_cron_agent_takes_notes(folder, live):
    """Its schedule is planned, and it remembers what it is told."""
    live("digest.py")
    assert folder.call("send", "digest", "The cat is back.").stdout == "noted: 1 so far\n"
    (planned,) = [each for each in folder.json("schedule") if each["schedule"] == "agent-digest"]
    assert (planned["cron"], planned["zone"], planned["agent"]) == ("0 9 * * 1-5", "Europe/Lisbon", "digest")


def test_what_goes_wrong_is_said_in_a_line(folder, live):
    """A refusal, a message of the wrong type, an agent that nobody serves; each with its exit code."""
    live("erratic.py")
    assert folder.call("send", "erratic", "-j", "5").stdout == "2\n"
    refused = folder.json("send", "erratic", "-j", "101", code=1)
    assert refused["failure"] == {"kind": "Refusal", "message": "only up to 100"}
    wrong = folder.call("send", "erratic", "five", code=1).stderr
    assert wrong.endswith("agent erratic can't take this message: Expected `int`, got `str`\n")
    nobody = folder.call("send", "eratic", "hello", code=1).stderr
    assert nobody == "callboard: nobody serves agents called 'eratic': did you mean 'erratic'?\n"
    late = folder.call("send", "erratic", "-j", "0", "--timeout", "2500ms", code=1).stderr
    assert "erratic has failed" in late
    assert "ZeroDivisionError" in late
    assert "has not answered message" in late
    assert folder.call("send", "erratic", code=2).stderr.endswith("give the agent a MESSAGE, or --file\n")
    assert "the message is no JSON" in folder.call("send", "erratic", "-j", "{", code=2).stderr
    assert folder.call("agents", "show", "nobody", code=1).stderr.startswith("callboard: no agent 'nobody'")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = (", "wrong.py, line 1: '(' was never closed"),
        ("x = 1", "wrong.py defines no agents: make some by callboard.Agent(…) or @callboard.agent(…)"),
        ("import callboard\n\n1 / 0", "wrong.py, line 3: ZeroDivisionError: division by zero"),
        ("import callboard\na = callboard.Agent('a b')", "wrong.py, line 2: agent 'a b' is no name for a definition"),
    ],
)
def test_a_file_that_cannot_be_run_is_refused(folder, text, why):
    """In one line that says where."""
    (folder.path / "wrong.py").write_text(text)
    assert folder.call("run", "wrong.py", code=1).stderr.startswith(f"callboard: {why}")


def test_a_changed_file_is_loaded_anew(folder, live):
    """What is running goes on when the change can't be run, and with the new code when it can."""
    file = folder.path / "changing.py"
    code = "import callboard\n\n@callboard.agent('changing')\nasync def handle(turn, message):\n    return {}\n"
    file.write_text(code.format("'old'"))
    live("changing.py")
    assert folder.call("send", "changing", "x").stdout == "old\n"
    file.write_text("async def (")
    time.sleep(1)
    assert folder.call("send", "changing", "x").stdout == "old\n"
    file.write_text(code.format("'new'"))
    deadline = time.monotonic() + WAIT_S
    while folder.call("send", "changing", "x").stdout != "new\n":
        assert time.monotonic() < deadline
    assert "what ran goes on" in (folder.path / "run.err").read_text()


def test_run_starts_a_node_when_there_is_none(tmp_path):
    """One command is enough to begin with; what was done is there the next time."""
    folder = Folder(tmp_path)
    shutil.copytree(EXAMPLES, folder.path, dirs_exist_ok=True)
    for expected in ("noted: 1 so far\n", "noted: 2 so far\n"):
        process, ready = folder.serve("run", "digest.py")
        assert ready["url"].startswith("nats://127.0.0.1:")
        assert folder.call("send", "digest", "A note.").stdout == expected
        end(process)
    kept = folder.call("send", "digest", "A note.", code=3)
    assert "is kept, but no node runs here" in kept.stderr
    assert json.loads(folder.process("agents", "--json"))[0]["inbox"] == 1
