"""Private tasks and agents on a real node: no file of it holds a word of theirs, and what is forgotten stays so."""

import asyncio
import json
import logging
import stat
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import nats
import pytest
import structlog
from servers import nats_binary
from servers.model_server import Behaviour, ModelServer
from servers.working_directory import Folder, end

from callboard.actors.agents.agent import Agent
from callboard.actors.agents.definition import agent
from callboard.actors.agents.errors import MessageFailed
from callboard.actors.agents.host import Host
from callboard.actors.task_handle import TaskFailed
from callboard.bus import jetstream, streams
from callboard.bus.errors import Locked
from callboard.bus.server import EmbeddedServer
from callboard.deploy import logs
from callboard.deploy.connect import connect, opened
from callboard.deploy.doctor import of_board
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Privacy, Router, Settings
from callboard.events.agent_events import Value
from callboard.events.approval import Approved
from callboard.events.envelope import decode, message_hash
from callboard.events.money import Price

ANN = "customer-42"
WORD = "marmalade"
"""In everything that is said; nothing that is kept may hold it."""


def settings(folder: Path, refuses: str = "http://127.0.0.1:1/v1", **fields) -> Settings:
    models = {
        name: Backend(
            provider="callable", function=f"servers.private_models:{name}", price=Price(1_000_000, 1), context=10**6
        )
        for name in ("quotes", "fails")
    }
    models["refuses"] = Backend(provider="openai", model="scripted", url=refuses, price=Price(1, 1))
    return Settings(data=str(folder), backends=models, router=Router(max_attempts=1), **fields)


@agent("clerk", private=True)
async def clerk(turn, body: str):
    """Works at a private message in all the ways there are."""
    turn.remember("taste", f"{turn.recall('taste', '')} {body}")
    said = await turn.model("think", body, backend="quotes")
    await turn.run("note", str, f"noted {said}")
    await turn.run("large", str, body * 8000)
    allowed = await turn.approve("may", {"buy": body}, question=f"buy {body}?")
    await turn.handoff("ask", f"scout/{turn.agent.partition('/')[2]}", f"{body} {allowed.note}")
    if body.startswith("fail"):
        raise RuntimeError(body)
    return f"answer {said}"


@agent("scout")
async def scout(turn, body: str):
    """Is not private itself, but for what is handed over to it."""
    turn.remember("heard", body)
    return f"scouted {body}"


async def approve_all(board) -> None:
    while True:
        for each in await board.approvals.all():
            if each.status == "waiting":
                await board.approvals.answer(each.id, Approved(each.requested.hash, "bob", f"fine, {WORD}"))
        await asyncio.sleep(0.05)


def in_files(folder: Path, *words: bytes) -> dict[str, bytes]:
    """The files that hold one of these."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): word for path in files for word in words if word in path.read_bytes()}


async def in_streams(folder: Path) -> dict[str, list[bytes]]:
    """All that the streams hold, uncompressed."""
    found: dict[str, list[bytes]] = {}
    async with EmbeddedServer(folder) as server:
        bus = await jetstream.connect(server.url)
        for name in (
            streams.EVENTS,
            streams.SUBMISSIONS,
            streams.TIMERS,
            streams.BLOBS,
            streams.SNAPSHOTS,
            streams.KEYS,
        ):
            info = await bus._api.request(f"$JS.API.STREAM.INFO.{name}", b"")
            last = json.loads(info.data)["state"]["last_seq"]
            found[name] = []
            for seq in range(1, last + 1):
                got = json.loads((await bus._api.request(f"$JS.API.STREAM.MSG.GET.{name}", b'{"seq":%d}' % seq)).data)
                if "message" in got:
                    kept = msgspec.convert(got["message"].get("data", ""), bytes, strict=False)
                    found[name].append(kept)
        await bus.aclose()
    return found


@asynccontextmanager
async def living(node: Node):
    """Agents live on the node, and somebody allows what they ask for."""
    host = Host(node.bus, "h1", [clerk, scout, Agent("writer", private=True, instructions=WORD, backend="quotes")])
    running = [asyncio.create_task(host.run()), asyncio.create_task(approve_all(node.board))]
    await host.ready.wait()
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def use(node: Node) -> dict[str, str]:
    """Say WORD in all the ways there are; returns what tasks there were."""
    board, tasks = node.board, {}
    async with living(node):
        done = await board.submit(f"one {WORD}", private=ANN, system=WORD, backend="quotes")
        assert (await done.result(20)).output == f"you said one {WORD}"
        await done.evaluate(0.5, note=WORD)
        large = await board.submit(WORD * 8000, private=ANN, backend="quotes")
        assert WORD in (await large.result(20)).output
        failed = await board.submit(f"two {WORD}", private=ANN, backend="fails")
        with pytest.raises(TaskFailed, match=WORD):
            await failed.result(60)
        refused = await board.submit(f"two {WORD}", private=ANN, backend="refuses")
        with pytest.raises(TaskFailed, match=WORD):
            await refused.result(60)
        waits = await board.submit(f"three {WORD}", private=ANN, delay_s=3600)
        tasks = {"done": done.id, "large": large.id, "failed": failed.id, "waits": waits.id}
        trip = board.context("trip", private=ANN)
        await trip.say(f"we like {WORD}")
        asked = await board.submit("what do we like?", context="trip", backend="quotes")
        await asked.result(20)
        client = await nats.connect(node.url)
        for wrong in ({"inputt": WORD}, {"input": WORD, "deadline": "soon"}, {"input": WORD, "private": f"a {WORD}"}):
            said = json.dumps({"private": ANN, **wrong}).encode()
            assert json.loads((await client.request("submit.task", said, timeout=20)).data)["status"] == "rejected"
        said = json.dumps({"input": f"four {WORD}", "private": ANN, "backend": "quotes"}).encode()
        assert WORD in json.loads((await client.request("submit.task", said, timeout=20)).data)["output"]
        letter = json.dumps({"agent": f"clerk/{ANN}", "body": f"five {WORD}"}).encode()
        assert WORD in json.loads((await client.request("submit.message", letter, timeout=20)).data)["answer"]
        letter = json.dumps({"agent": f"clark/{ANN}", "body": f"five {WORD}"}).encode()
        assert (
            "did you mean 'clerk'"
            in json.loads((await client.request("submit.message", letter, timeout=20)).data)["reason"]
        )
        score = json.dumps({"task": done.id, "score": 0.7, "note": WORD}).encode()
        assert json.loads((await client.request("submit.score", score, timeout=20)).data)["status"] == "scored"
        await client.close()
        writer = await board.send(f"writer/{ANN}", f"six {WORD}")
        assert await writer.result(20) == f"you said six {WORD}"
        assert await (await board.send(f"writer/{ANN}", f"seven {WORD}")).result(20) == f"you said seven {WORD}"
        message = await board.send(f"clerk/{ANN}", f"fail {WORD}")
        while not ((work := (await message.state()).work) and work.attempts):
            await asyncio.sleep(0.05)
        tasks["message"] = message.id
    return tasks


@pytest.fixture
def log_file(tmp_path):
    """Where the log lines of the node go; afterwards logging is as before."""
    handlers = list(logging.root.handlers)
    with (tmp_path / "log.jsonl").open("w") as file:
        logs.configure("info", file)
        yield tmp_path / "log.jsonl"
        structlog.reset_defaults()
        logging.root.handlers = handlers


async def test_no_file_holds_a_word_and_what_is_forgotten_stays_so(tmp_path, log_file):
    """Streams, blobs, snapshots, timers, traces and logs of a node, before and after; chains hold; the key is gone."""
    await nats_binary.needed()
    folder = tmp_path / "data"
    refuses = Behaviour(status=400, error=f"no {WORD} here")
    async with ModelServer(refuses) as model, Node(settings(folder, model.url)) as node:
        assert await (await node.board.submit("jam", backend="quotes")).result(20)
        tasks = await use(node)
        kept = json.loads(await node.bus.keys.get(ANN))["key"].encode()
    assert stat.S_IMODE((folder / "privacy.key").stat().st_mode) == 0o600
    assert in_files(folder, b"jam")  # what is not private can be found like that
    assert in_files(tmp_path, WORD.encode()) == {}
    assert "raised" in log_file.read_text()
    held = await in_streams(folder)
    assert [name for name, messages in held.items() if any(WORD.encode() in each for each in messages)] == []
    assert any(b"jam" in each for each in held[streams.EVENTS])
    assert not held[streams.SUBMISSIONS]
    assert len(held[streams.KEYS]) == 1
    assert in_files(folder, kept)
    async with Node(settings(folder)) as node:
        board = node.board
        assert WORD in (await (await board.task(tasks["done"])).result(20)).output
        said = await board.forget(ANN, by="dpo", reason="asked for it")
        assert {"task", "agent", "context", "approval"} <= said.of.keys()
        assert in_files(folder, kept) == {}
        outcome = await board.ended(tasks["waits"])
        assert (outcome.status, outcome.reason.partition(":")[0]) == ("dead", f"{ANN} has been forgotten")
        assert (await board.ended(tasks["done"])).output == f"[forgotten: {ANN}]"
        assert (await board.ended(tasks["large"])).output == f"[forgotten: {ANN}]"
        async with living(node):
            again = await board.send(f"writer/{ANN}", "eight")
            assert await again.result(20) == "you said eight"
            while (await board.messages.state(f"clerk--{ANN}")).next:
                await asyncio.sleep(0.05)
            with pytest.raises(MessageFailed, match="has been forgotten"):
                await board.messages.message(f"clerk/{ANN}", tasks["message"]).result(20)
            assert await (await board.send(f"clerk/{ANN}", "nine")).result(20) == "answer you said nine"
            assert (await board.messages.state(f"clerk--{ANN}")).memory["taste"] == Value(" nine")
    assert in_files(folder, kept) == {}
    before: dict[str, str] = {}
    for data in (await in_streams(folder))[streams.EVENTS]:
        for envelope in decode(data):
            assert envelope.prevhash == before.get(envelope.subject, "")
        before[envelope.subject] = message_hash(data)


async def test_without_the_right_master_key_it_says_so(tmp_path):
    """In one line each: when there is none, when it is another, when it is no key; and doctor finds it."""
    await nats_binary.needed()
    url_only = Settings(data=str(tmp_path))
    async with Node(url_only) as node:
        await node.board.submit("x", private=ANN)
        for environ, told in (
            ({}, "set CALLBOARD_MASTER_KEY here"),
            ({"CALLBOARD_MASTER_KEY": "00" * 32}, "locked with another master key"),
            ({"CALLBOARD_MASTER_KEY": "short"}, "holds no master key"),
        ):
            async with opened(node.url, environ=environ) as place:
                with pytest.raises(Locked, match=told) as refused:
                    await place.board.submit("x", private=ANN)
                assert "\n" not in str(refused.value)
                found = await of_board(place, url_only, tmp_path)
                assert [each.level for each in found if each.check == "master key"] == ["fail"]
        privacy = Privacy(master_key_env="MY_KEY")
        async with opened(node.url, privacy=privacy, environ={}) as place:
            with pytest.raises(Locked, match="MY_KEY, which"):
                await place.board.submit("x", private=ANN)
        async with connect(node.url, master_key=(tmp_path / "privacy.key").read_text()) as board:
            assert (await (await board.submit("x", private=ANN)).state()).spec.input == "x"


def test_the_command_line_tells_and_forgets(tmp_path):
    """It asks first and says what becomes unreadable; then every command shows a note in place of what was said."""
    folder = Folder(tmp_path)
    end(folder.up()[0])

    def told(*args: str, code: int = 0) -> str:
        return folder.call(*args, code=code).stdout

    task = told("submit", WORD, "--private", ANN, "--no-wait").split()[0]
    told("context", "say", "trip", WORD, "--private", ANN)
    assert WORD in told("show", task)
    assert WORD in told("context", "show", "trip")
    assert WORD not in told("tasks")
    assert "2 events (contexts: 1, tasks: 1)" in told("forget", ANN, code=1)
    assert WORD in told("show", task)
    said = folder.json("forget", ANN, "--yes", "--by", "dpo", "--reason", "asked for it")
    assert (said["person"], said["generation"], said["events"], said["of"]["task"]) == (ANN, 1, 2, [task])
    for command in (("show", task), ("context", "show", "trip"), ("dead", "show", task), ("tasks",), ("dead",)):
        shown = told(*command)
        assert WORD not in shown
        assert f"[forgotten: {ANN}]" in shown or f"{ANN} has been forgotten" in shown
    assert "nothing private was ever said of 'nobody'" in folder.call("forget", "nobody", "--yes", code=1).stderr
    assert all(each["level"] != "fail" for each in folder.json("doctor") if "person" in each["check"])


async def test_keys_that_are_erased_are_gone_from_the_disk(tmp_path):
    """Of many that lie in one file, just those, also after the server was started again."""
    await nats_binary.needed()
    names, kept = [f"person-{number}" for number in range(12)], {}
    gone = {names[0], names[5], names[-1]}

    def on_disk() -> set[str]:
        return {name for name, key in kept.items() if in_files(tmp_path, key)}

    async with EmbeddedServer(tmp_path) as server:
        bus = await jetstream.connect(server.url, master=lambda **_: bytes(range(32)))
        for name in names:
            await bus.privacy.keyring.welcome(name)
            kept[name] = json.loads(await bus.keys.get(name))["key"].encode()
        assert on_disk() == set(names)
        for name in gone:
            await bus.privacy.keyring.destroy(name, "", "")
        assert on_disk() == set(names) - gone
        await bus.aclose()
    async with EmbeddedServer(tmp_path) as server:
        bus = await jetstream.connect(server.url, master=lambda **_: bytes(range(32)))
        assert set(await bus.keys.names()) == set(names) - gone == on_disk()
        await bus.aclose()
