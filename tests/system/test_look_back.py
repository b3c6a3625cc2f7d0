"""The log of a real node, looked into: traces, exports and SQL say what happened, and what the projections say."""

import asyncio
import json
import re
import shlex
from pathlib import Path

import pytest
from servers.model_server import Behaviour, ModelServer
from servers.otlp_receiver import OtlpReceiver
from servers.working_directory import Folder, end

from callboard.actors.agents.definition import agent
from callboard.actors.agents.host import Host
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Settings
from callboard.events.money import Price

README = (Path(__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.search(r"### Look into the log\n.*?```sh\n(.*?)```", README, re.DOTALL)[1].splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where a node runs that has done this and that."""
    folder = Folder(tmp_path_factory.mktemp("node"))
    node, folder.ready = folder.up()
    try:
        folder.done = [folder.json("submit", text, "--backend", "echo", "--tag", "a", "--tag", text) for text in "xyz"]
        folder.call("score", folder.done[0]["task"], "0.5")
        folder.failed = folder.submit("x", "--needs", "broken", "--tag", "a")
        folder.until(folder.failed, lambda shown: shown["status"] == "dead")
        folder.open = folder.submit("x", "--delay", "1h")
        folder.until(folder.open, lambda shown: shown["status"] == "parked")
        yield folder
    finally:
        end(node)


def test_a_trace_of_a_task(folder):
    """Its phases and calls below it, who did it for how much; the same by its id, a part of that, and the trace's."""
    task = folder.done[0]["task"]
    shown = folder.json("trace", task)
    root = shown["spans"][0]
    assert [span["name"].split()[0] for span in shown["spans"]] == ["invoke_workflow", "route", "process", "chat"]
    assert {span["parent"] for span in shown["spans"][1:]} == {root["span"]}
    assert root["attributes"]["callboard.task.cost.usd_micros"] == folder.done[0]["cost"]
    assert not any(span["open"] or span["error"] for span in shown["spans"])
    assert folder.json("trace", task[-8:]) == folder.json("trace", shown["trace"]) == shown
    text = folder.call("trace", task).stdout
    assert text.startswith(f"trace {shown['trace']}: 4 spans in ")
    assert "└─ chat callable_backends:echo" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_trace_of_what_failed_and_of_what_is_under_way(folder):
    """Why it failed is said; what has not ended is drawn up to now."""
    failed = folder.call("trace", folder.failed).stdout
    assert "✗ " in failed
    assert "dead_lettered" in failed
    shown = folder.json("trace", folder.open)
    assert [span["name"].split()[0] for span in shown["spans"] if span["open"]] == ["invoke_workflow", "parked"]
    assert "2 under way" in folder.call("trace", folder.open).stdout


def test_a_trace_that_is_none_is_refused(folder):
    """In a line that says what can be named."""
    assert "callboard: no trace ffff" in folder.call("trace", "f" * 32, code=1).stderr
    assert "callboard: no task or message 'nothing'" in folder.call("trace", "nothing", code=1).stderr


def test_sql_says_what_the_projections_say(folder):
    """Costs to the micro-dollar, and where each task stands."""
    tasks = folder.json("tasks")["tasks"]
    rows = folder.json("sql", "SELECT task, status, backend, calls, cost, tags FROM tasks")
    assert sorted(rows, key=lambda row: row["task"]) == sorted(
        [
            {"task": row["id"]} | {key: row[key] for key in ("status", "backend", "calls", "cost", "tags")}
            for row in tasks
        ],
        key=lambda row: row["task"],
    )
    names = "count(*) AS calls, sum(tokens_in) AS input, sum(tokens_out) AS output, sum(tokens_cached) AS cached"
    for by, key in (("backend", "backend"), ("day", "day::VARCHAR")):
        query = (
            f"SELECT {key} AS key, {names}, sum(cost) AS cost, sum(wasted) AS wasted FROM costs GROUP BY 1 ORDER BY 1"
        )
        assert folder.json("sql", query) == folder.json("costs", "--by", by)["lines"]
    assert folder.json("sql", "SELECT task, score, source FROM evaluations") == [
        {"task": folder.done[0]["task"], "score": 500_000, "source": "user"}
    ]


def test_sql_prints_tables_and_csv(folder):
    """For people, and for spreadsheets; a file is not reached, and a mistake told with its place."""
    query = "SELECT status, count(*) AS number FROM tasks WHERE status = 'completed' GROUP BY ALL"
    assert folder.call("sql", query, "--csv").stdout == "status,number\ncompleted,3\n"
    assert [line.split() for line in folder.call("sql", query).stdout.splitlines()][::2] == [
        ["status", "number"],
        ["completed", "3"],
    ]
    assert folder.json("sql", "SELECT 1 AS x, 2 AS x") == [{"x": 1, "x_2": 2}]
    assert "costs: a row is a call that was booked, once" in folder.call("sql", "--tables").stdout
    refused = folder.call("sql", "SELECT * FROM read_csv('/etc/passwd')", code=1).stderr
    assert re.fullmatch(r"callboard: [^\n]*disabled by configuration \(line 1, column 15\)\n", refused)


def test_spans_are_exported_to_a_file_once(folder):
    """However often it is asked for; to standard output they go as they are."""
    arguments = ("export", "--format", "otlp", "--until", "20")
    first, again = (folder.json(*arguments, "-o", "spans.jsonl") for _ in range(2))
    assert (first["count"], first["skipped"]) == (again["skipped"], again["count"])
    assert first["count"] > 3
    assert "resourceSpans" in json.loads(folder.call(*arguments).stdout.splitlines()[0])


def test_an_archive_changes_no_answer(folder):
    """What is archived and what is not yet is one log."""
    query = "SELECT event, count(*) AS n, max(seq) AS last FROM events WHERE kind = 'task' GROUP BY ALL ORDER BY ALL"
    before = folder.json("sql", query), folder.json("trace", folder.done[0]["task"])
    lines = folder.call("export", "--kind", "task").stdout
    assert folder.json("archive")["archived"]
    assert (folder.json("sql", query), folder.json("trace", folder.done[0]["task"])) == before
    assert folder.call("export", "--kind", "task").stdout == lines


def test_events_are_exported_to_a_file(folder):
    """From a moment on, of some kind and type; never over a file that is there, but on with one."""
    path = folder.path / "events.jsonl"
    first = folder.json("export", "--kind", "task", "--until", "12", "-o", "events.jsonl")
    assert (first["count"], first["last"], first["to"]) == (len(path.read_text().splitlines()), 12, "events.jsonl")
    assert "is there already" in folder.call("export", "-o", "events.jsonl", code=1).stderr
    folder.json("export", "--kind", "task", "--after", "12", "-o", "events.jsonl")
    assert path.read_text() == folder.call("export", "--kind", "task").stdout
    completed = folder.call("export", "--type", "completed", "--entity", f"task/{folder.done[1]['task']}").stdout
    assert json.loads(completed)["data"]["output"] == "Y"
    assert folder.call("export", "--since", "2200-01-01").stdout == ""
    assert len(json.loads(folder.call("export", "--format", "cloudevents", "--since", "5").stdout)) > 5
    assert "--endpoint takes spans" in folder.call("export", "--endpoint", "http://x", code=2).stderr


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_of_the_readme(folder, line, tmp_path):
    """Each line works as it stands there, but for names."""
    with OtlpReceiver() as collector:
        line = line.replace("TASK", folder.done[0]["task"]).replace("http://localhost:4318", collector.url)
        command, *arguments = shlex.split(line, comments=True)
        assert command == "callboard"
        folder.call(*arguments)
        assert collector.spans if collector.url in line else not collector.spans


async def test_what_is_sent_again_is_the_same(tmp_path, monkeypatch):
    """After the live export and two back-fills there is no span that the live one did not send, each as it was."""

    @agent("writer")
    async def write(turn, topic: str):
        return await turn.handoff("ask", "scout/tides", topic)

    @agent("scout")
    async def scout(turn, topic: str):
        return await turn.model("think", topic)

    with OtlpReceiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with ModelServer(Behaviour(text="all is well")) as model:
            one = Backend(provider="openai", model="scripted", url=model.url, price=Price(1, 1))
            async with Node(Settings(data=str(tmp_path / "data"), backends={"one": one})) as node:
                host = Host(node.bus, "h1", [write, scout])
                living = asyncio.create_task(host.run())
                await host.ready.wait()
                message = await node.board.send("writer", "tides")
                assert await message.result(20) == "all is well"
                for text in "abc":
                    await (await node.board.submit(text)).result(20)
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)
        live = {(span.trace_id, span.span_id): span for span in collector.spans}
        assert len(live) == len(collector.spans) > 20
        folder = Folder(tmp_path)
        for _ in range(2):
            arguments = ("export", "--format", "otlp", "--data", str(tmp_path / "data"), "--endpoint", collector.url)
            told = json.loads((await asyncio.to_thread(folder.call, *arguments, "--json")).stdout)
        again = collector.spans[len(live) :]
        shown = await asyncio.to_thread(folder.json, "trace", message.id, "--data", str(tmp_path / "data"))
        assert shown == await asyncio.to_thread(folder.json, "trace", message.id[-9:], "--data", str(tmp_path / "data"))
    kinds = ["invoke_agent", "handoff", "invoke_agent", "task", "invoke_workflow", "route", "process", "chat"]
    assert [span["name"].split()[0] for span in shown["spans"]] == kinds
    assert {(shown["trace"], span["span"]) for span in shown["spans"]} <= {
        (trace.hex(), span.hex()) for trace, span in live
    }
    assert told["count"] * 2 == len(again)
    assert {(span.trace_id, span.span_id) for span in again} <= live.keys()
    assert {span.name for key, span in live.items() if span not in again} == {"POST"}
    for span in again:
        assert span == live[span.trace_id, span.span_id]
