"""The audit of what a real node wrote: tasks, budgets, agents, approvals, contexts; and of what was altered in it."""

import json
import stat
import subprocess
import time

import pytest
from servers.working_directory import WAIT_S, Folder, end

from callboard.bus import jetstream
from callboard.bus.api import Answer
from callboard.bus.server import EmbeddedServer

MODELS = """

[backends.caller]
provider = "callable"
function = "tool_caller:reply"
capabilities = ["chat", "tools"]
price = { input = 1, output = 2 }
"""
CALLER = """
from callboard import ToolCall

def reply(request):
    last = request.messages[-1]
    if last.role == "tool":
        return f"the tool said: {last.content}"
    return ToolCall("c1", "mail", '{"to": "ann"}')
"""
CLERK = """
import callboard

@callboard.tool(approval=True)
def mail(to: str) -> str:
    "Sends a mail."
    return f"sent to {to}"

clerk = callboard.Agent("clerk", instructions="Send mails.", tools=[mail])

@callboard.agent("boss")
async def boss(turn: callboard.Turn, asked: str) -> str:
    "Hands over, and says so in a shared context."
    told = await turn.handoff("ask", "clerk/main", asked)
    allowed = await turn.approve("publish", {"publish": told})
    if allowed.status == "approved":
        await turn.run("print", lambda: told, needs="publish")
    await turn.change("tell", "news", callboard.Say("assistant", told))
    return told
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a node has worked, with all that can happen, and was stopped."""
    folder = Folder(tmp_path_factory.mktemp("audited"))
    with (folder.path / "callboard.toml").open("a") as settings:
        settings.write(MODELS)
    (folder.path / "tool_caller.py").write_text(CALLER)
    (folder.path / "clerk.py").write_text(CLERK)
    node, _ = folder.up()
    agents, _ = folder.serve("run", "clerk.py")
    try:
        _work(folder)
    finally:
        end(agents)
        end(node)
    return folder


def _work(folder: Folder) -> None:
    folder.call("budget", "set", "org", "--limit", "1usd")
    folder.call("budget", "set", "team", "--limit", "0.5usd", "--parent", "org", "--on-breach", "ask")
    boss = folder.start("send", "boss", "write to ann")
    for number in range(6):
        folder.call("submit", f"hello {number}", "--budget", "team", "--max-tokens", "20", "--backend", "echo")
        folder.call("submit", f"hello {number}", "--tag", "plain")
    folder.call("submit", "this fails", "--needs", "broken", code=1)
    task = folder.json("submit", "for ever", "--needs", "slow", "--no-wait")["task"]
    time.sleep(0.3)
    folder.call("cancel", task)
    folder.call("context", "say", "news", "hello")
    for _ in range(2):
        folder.call("approve", _asked(folder), "--note", "fine")
    assert "sent to ann" in boss.communicate(timeout=WAIT_S)[0]
    folder.call("drain", "slow")


def _asked(folder: Folder) -> str:
    deadline = time.monotonic() + WAIT_S
    while not (found := folder.json("approvals")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]["approval"]


def test_what_a_node_wrote_is_clean(folder):
    """Every message is as it was signed, by the key that was made for it, which nobody else may read."""
    report = folder.json("audit")
    assert [each for each in report["findings"] if each["severity"] != "note"] == []
    checked = report["checked"]
    assert checked["covered"] == checked["messages"] == report["head"]["size"] > 60
    assert checked["pinned"]
    assert checked["approvals"] == 2
    assert checked["leases"] >= 1
    assert checked["calls"] >= 14
    key = folder.path / ".callboard" / "audit.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.with_suffix(".pub").exists()


def test_it_is_told_in_words(folder):
    """The result first."""
    lines = folder.call("audit").stdout.splitlines()
    assert lines[0].startswith("CLEAN: ")
    assert any("Head to keep elsewhere" in line for line in lines)
    assert "CLEAN" in folder.call("audit", "--only", "log", "--until", "20").stdout


def test_a_message_is_proved_by_a_few_hashes(folder):
    """Under the root that was signed."""
    proof = folder.json("audit", "--proof", "5")
    assert (proof["seq"], proof["root"]) == (5, folder.json("audit")["head"]["root"])
    assert "no message" in folder.call("audit", "--proof", "99999", code=1).stderr


def test_another_key_is_noticed(folder, tmp_path):
    """Checkpoints by a key that is not trusted are none."""
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no openssl here")
    (tmp_path / "other.key").write_bytes(made.stdout)
    told = folder.call("audit", "--key", str(tmp_path / "other.key"), code=1).stdout
    assert told.startswith("FINDINGS: ")
    assert "not by one that you trust" in told


def test_a_log_that_goes_on_still_has_its_head(folder, tmp_path):
    """A report that was kept proves that the log was only added to; one of another log is told apart."""
    kept = tmp_path / "report.json"
    kept.write_text(folder.call("audit", "--json").stdout)
    node, _ = folder.up()
    try:
        folder.call("submit", "one more")
    finally:
        end(node)
    report = folder.json("audit", "--since", str(kept))
    assert report["result"] == "clean"
    assert report["checked"]["head_of"] == json.loads(kept.read_text())["head"]["size"] < report["head"]["size"]
    other = json.loads(kept.read_text())["head"] | {"root": "ab" * 32}
    kept.write_text(json.dumps(other))
    assert "they were altered" in folder.call("audit", "--since", str(kept), code=1).stdout
    assert "no report" in folder.call("audit", "--since", str(folder.path / "callboard.toml"), code=1).stderr


async def test_what_is_taken_out_is_missed(folder):
    """Even by who may purge the stream; the last test of this folder."""
    async with EmbeddedServer(folder.path / ".callboard", fsync="100ms") as server:
        bus = await jetstream.connect(server.url, fsync="100ms")
        purged = await bus.checkpoints._api.call("STREAM.PURGE.EVENTS", {"filter": "evt.*.context.news.>"}, Answer)
        assert purged.error is None
        await bus.aclose()


def test_and_named(folder):
    """With the place where it was."""
    told = folder.call("audit", code=1).stdout
    assert "is missing" in told
    assert "copy of the log from before" in told
