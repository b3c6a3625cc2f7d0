"""The command line as a user has it: a node in one process, commands in others."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

import callboard
from callboard.bus.errors import ServerError
from callboard.bus.server_binary import nats_server
from callboard.deploy.cli import callboard as command
from callboard.deploy.cli.group import SECTIONS

COMMAND = (sys.executable, "-c", "from callboard.deploy.cli import main; main()")
SETTINGS = """
[backends.echo]
provider = "callable"
function = "callable_backends:echo"
price = { input = 1, output = 2 }

[backends.slow]
provider = "callable"
function = "callable_backends:slow"
capabilities = ["chat", "slow"]

[backends.broken]
provider = "callable"
function = "callable_backends:broken"
capabilities = ["broken"]

[backends.hosted]
provider = "openai"
model = "gpt-5-mini"
"""
HIDDEN = [name for name in os.environ if name.startswith(("CALLBOARD_", "OPENAI_"))]
ENVIRON = {name: value for name, value in os.environ.items() if name not in HIDDEN}
WAIT_S = 30


class Folder:
    """A working directory with settings, where commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copy(Path(__file__).parent / "callable_backends.py", path)
        (path / "callboard.toml").write_text(SETTINGS)

    def start(self, *args: str) -> subprocess.Popen:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*COMMAND, *args], cwd=self.path, env=ENVIRON, text=True, **pipes)

    def up(self) -> tuple[subprocess.Popen, dict]:
        """A node, and what it said when it was ready."""
        with (self.path / "node.err").open("wb") as errors:
            node = subprocess.Popen(
                [*COMMAND, "up", "--json"], cwd=self.path, env=ENVIRON, stdout=subprocess.PIPE, stderr=errors
            )
        line = node.stdout.readline()
        assert line, (self.path / "node.err").read_text()
        return node, json.loads(line)

    def process(self, *args: str, stdin: str = "") -> str:
        """Standard output of a command in a process of its own, which ends well."""
        ended = subprocess.run(
            [*COMMAND, *args],
            cwd=self.path,
            env=ENVIRON,
            text=True,
            input=stdin,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def call(self, *args: str, code: int = 0) -> Result:
        """What a command in this process says; it ends with ``code`` and without a traceback."""
        logging_to, environ = list(logging.root.handlers), dict.fromkeys(HIDDEN)
        try:
            with contextlib.chdir(self.path):
                ended = CliRunner(env=environ).invoke(command, args, prog_name="callboard")
        finally:
            structlog.reset_defaults()
            logging.root.handlers = logging_to
        assert "Traceback" not in ended.stderr
        assert ended.exit_code == code, f"{args}: {ended.stdout}\n{ended.stderr}"
        return ended

    def json(self, *args: str, code: int = 0):
        return json.loads(self.call(*args, "--json", code=code).stdout)

    def submit(self, *args: str) -> str:
        """The id of a new task that nobody waits for."""
        return self.call("submit", *args, "--no-wait").stdout.strip()


def end(node: subprocess.Popen, *, code: int = 0) -> None:
    node.send_signal(signal.SIGTERM)
    try:
        assert node.wait(WAIT_S) == code
    finally:
        node.kill()
        node.stdout.close()


@pytest.fixture(scope="module", autouse=True)
def _server():
    try:
        asyncio.run(nats_server())
    except ServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs."""
    folder = Folder(tmp_path_factory.mktemp("node"))
    node, folder.ready = folder.up()
    try:
        yield folder
    finally:
        end(node)


@pytest.fixture
def empty(tmp_path):
    """A folder where no node has run."""
    return Folder(tmp_path)


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


def test_every_command_has_its_help(empty):
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
    assert echo["price"] == {"input": 1_000_000, "output": 2_000_000, "cached": None}


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


def test_cancel_stops_a_call(folder):
    """A running task is cancelled, once; what its call cost is told as wasted."""
    task = folder.submit("for ever", "--backend", "slow")
    while folder.json("show", task)["status"] != "started":
        pass
    assert folder.json("cancel", task, "--reason", "enough")["reason"] == "enough"
    assert "was cancelled already" in folder.call("cancel", task).stdout
    while (shown := folder.json("show", task))["unsettled"]:
        pass
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
    while folder.json("show", row["id"])["status"] != "dead":
        pass
    assert folder.json("dead", "requeue", "--all") == {"requeued": [row["id"]]}
    while (shown := folder.json("dead", "show", row["id"]))["status"] != "dead":
        pass
    assert [call["state"] for call in shown["calls"]] == ["failed"] * 3
    assert folder.json("costs")["unknown"] == {}


def test_backends_are_scaled_and_drained(folder):
    """A change is in the log at once, and is said to be none when it was so before."""
    assert folder.json("scale", "echo", "2") == {"backend": "echo", "replicas": 2, "draining": False, "changed": True}
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
        (("submit", "x", "--policy", "best"), 1, "unknown policy 'best'"),
        (("submit", "x", "--watch", "--no-wait"), 2, "leave out --no-wait"),
        (("submit", ""), 1, "input is empty"),
        (("scale", "ecko", "2"), 1, "unknown backend 'ecko'; did you mean 'echo'?"),
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


def test_a_wrong_settings_file_is_told_line_by_line(empty):
    """Every mistake in the file is named with its line; doctor lists the same as failures."""
    (empty.path / "callboard.toml").write_text('[nats]\nfsnyc = "always"\n[router]\nmax_attempts = 0\n')
    told = empty.call("tasks", code=1).stderr.splitlines()
    assert told[0] == "callboard: callboard.toml:2: [nats] unknown key 'fsnyc'; did you mean 'fsync'?"
    assert told[1].startswith("callboard: callboard.toml:4: ")
    assert [finding["level"] for finding in empty.json("doctor", code=1)] == ["fail", "fail"]


def test_without_a_node_and_without_data_there_is_nothing_to_read(empty):
    """No folder and no node: exit code 3, and how to start one."""
    told = "callboard: no node runs here and ./.callboard holds nothing: start one with `callboard up`\n"
    assert empty.call("tasks", code=3).stderr == told
    assert empty.call("submit", "x", code=3).stderr == told
    assert "start one with `callboard up`" in empty.call("doctor").stdout


def test_an_address_where_nobody_answers_is_told(empty):
    """A server that hangs up: exit code 3, one line with its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def hang_up() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        told = empty.call("tasks", "--url", f"nats://127.0.0.1:{port}", code=3).stderr
        listening.shutdown(socket.SHUT_RDWR)
    assert f"callboard: NATS at nats://127.0.0.1:{port} refuses the connection" in told


def test_what_is_submitted_while_no_node_runs_is_done_later(empty):
    """The log of an ended node can be read and added to; a new node does what waits."""
    node, _ = empty.up()
    end(node)
    waiting = empty.call("submit", "later", "--backend", "echo", code=3)
    task = waiting.stdout.strip()
    assert "nothing works on it until `callboard up` runs" in waiting.stderr
    assert [row["id"] for row in empty.json("tasks", "--status", "submitted")["tasks"]] == [task]
    assert "this has no effect until `callboard up` runs" in empty.call("scale", "echo", "3").stderr
    node, started = empty.up()
    try:
        assert {backend["backend"]: backend["replicas"] for backend in started["backends"]}["echo"] == 3
        while (shown := empty.json("show", task))["status"] != "completed":
            pass
        assert shown["output"] == "LATER"
    finally:
        end(node)


def test_two_readers_of_an_ended_node_take_turns(empty):
    """Whoever opens the folder of an ended node makes others wait, and disturbs nobody."""
    node, _ = empty.up()
    end(node)
    readers = [empty.start("tasks", "--json") for _ in range(3)]
    assert [json.loads(reader.communicate(timeout=WAIT_S)[0])["tasks"] for reader in readers] == [[], [], []]


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


def test_a_second_signal_ends_a_node_at_once(empty):
    """The first lets a call under way finish, the second does not; the folder is free afterwards."""
    node, _ = empty.up()
    task = empty.submit("for ever", "--backend", "slow")
    while empty.json("show", task)["status"] != "started":
        pass
    node.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0.5)
    end(node, code=130)
    assert empty.json("show", task)["status"] == "started"


async def test_connect_finds_the_node_by_its_folder(folder):
    """`callboard.connect` gives a board on which tasks are submitted and answered."""
    async with callboard.connect(data=str(folder.path / ".callboard")) as board:
        handle = await board.submit("from python", backend="echo")
        outcome = await handle.result(timeout_s=WAIT_S)
    assert outcome.output == "FROM PYTHON"


async def test_connect_says_when_there_is_nothing(tmp_path):
    """Without a node and without data the error says how to start one."""
    with pytest.raises(callboard.CallboardError, match="start one with `callboard up`"):
        async with callboard.connect(data=str(tmp_path)):
            pass
