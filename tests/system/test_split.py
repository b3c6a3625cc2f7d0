"""A log is split in two while much is under way: each half goes on on a server of its own, nothing is done twice."""

import asyncio
import shutil
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import pytest
from msgspec.structs import replace
from servers import nats_binary
from servers.working_directory import ENVIRON

import callboard
from callboard.actors.archiver import Archiver
from callboard.actors.auditor import audit
from callboard.actors.board import Board
from callboard.actors.purger import Purger
from callboard.bus import cell, jetstream
from callboard.bus.api import Api
from callboard.bus.archive.examined import examined
from callboard.bus.backup.restoring import plan
from callboard.bus.entities import TASK, Entities
from callboard.bus.errors import BusError
from callboard.bus.server import EmbeddedServer
from callboard.deploy.archive import go_back
from callboard.deploy.node import Node
from callboard.deploy.restoring import restore
from callboard.deploy.settings import Archive, Backend, Nats, Settings, Telemetry
from callboard.deploy.splitting import check, split
from callboard.events import task as events
from callboard.events.envelope import decode
from callboard.events.errors import Elsewhere, InvalidInput
from callboard.events.ids import shard_of
from callboard.events.money import Price
from callboard.events.shards import Shards
from callboard.events.task import Status
from callboard.projections.audit import Options
from callboard.projections.budgets import BUDGETS

LOWER, UPPER = Shards.parse("0-31"), Shards.parse("32-63")
LIMIT = 50_000_000
CLI = "from callboard.deploy.cli import main; main()"

ECHO, HELD = {"capabilities": ["echo"]}, {"capabilities": ["held"]}


@pytest.fixture(autouse=True, scope="module")
def _nats_server():
    asyncio.run(nats_binary.needed())


@pytest.fixture
def go(tmp_path, monkeypatch):
    """The file that the backend ``held`` waits for."""
    monkeypatch.setenv("HELD_UNTIL", str(tmp_path / "go"))
    return tmp_path / "go"


def settings(folder, url=""):
    backends = {
        name: Backend(
            provider="callable",
            function=f"servers.callable_backends:{name}",
            capabilities=("chat", name),
            concurrency=64,
            context=10**6,
            price=Price(1_000_000, 2_000_000),
        )
        for name in ("echo", "held")
    }
    nats = Nats(url=url, fsync="100ms")
    return Settings(data=str(folder), nats=nats, telemetry=Telemetry(traces="off"), backends=backends)


@callboard.agent("editor")
async def editor(turn: callboard.Turn, text: str) -> str:
    return await turn.model("edit", text, needs=HELD)


@callboard.agent("clerk")
async def clerk(turn: callboard.Turn, number: int) -> list:
    draft = await turn.model("draft", f"draft {number}", needs=ECHO)
    approved = await turn.approve("may I", {"number": number})
    edited = await turn.handoff("edit", f"editor/{beside(turn.agent)}", draft)
    return [edited, approved.status]


AGENTS = (editor, clerk)


def beside(clerk):
    """An editor of the same half as a clerk, by its instance."""
    mine = shard_of(clerk.replace("/", "--")) in LOWER
    return next(f"e{n}" for n in range(100) if (shard_of(f"editor--e{n}") in LOWER) == mine)


@asynccontextmanager
async def connected(server):
    bus = await jetstream.connect(server.url, splits=True)
    try:
        yield bus
    finally:
        await bus.aclose()


async def begin(board):
    """Tasks, agents, contexts, approvals and schedules in all states; what is told of them."""
    await board.set_budget("org", limit=LIMIT)
    await board.set_budget("team", limit=LIMIT // 2, parent="org")
    paid = {"budget": "team", "max_tokens": 100}
    done = [await board.submit(f"done {n}", needs=ECHO, **paid) for n in range(24)]
    await asyncio.gather(*(each.result(20) for each in done))
    under = [await board.submit(f"part {n}", needs=ECHO, parent=each.id) for n, each in enumerate(done[:8])]
    await asyncio.gather(*(each.result(20) for each in under))
    for shard in ("05", "25"):
        await board.context(f"{shard}-plan").say(f"the plan of {shard}")
        await board.schedule(f"{shard}-hourly", "0 * * * *", "tick", needs=ECHO)
    held = [await board.submit(f"held {n}", needs=HELD, **paid) for n in range(24)]
    parts = [await board.submit(f"held part {n}", needs=HELD, parent=each.id) for n, each in enumerate(held[:8])]
    parked = [await board.submit(f"parked {n}", needs=ECHO, delay_s=3600 if n % 2 else 8) for n in range(24)]
    read = [
        await board.submit("and now?", context=f"{shard}-plan", id=f"{shard}-read-{n}", needs=HELD)
        for shard in ("05", "25")
        for n in range(3)
    ]
    asked = [await board.ask({"deploy": n}) for n in range(8)]
    sent = [await board.send(f"clerk/c{n}", n, key=f"k{n}") for n in range(8)]
    while len(waiting := await board.approvals.all()) < 16:
        await asyncio.sleep(0.02)
    for each in waiting:
        if each.requested.by and each.requested.action["number"] < 6:
            await board.approval(each.id).approve(by="ann")
    await asyncio.sleep(1)
    return {
        "done": [each.id for each in (*done, *under)],
        "open": [each.id for each in (*held, *parts, *parked[::2], *read)],
        "parked": [each.id for each in parked[1::2]],
        "asked": [each.id for each in asked],
        "sent": [(each.agent, each.id) for each in sent],
    }


async def copied(tmp_path, old, new):
    """A backup of the one server, restored into the other."""
    async with connected(old) as bus:
        await bus.back_up(tmp_path / "backup", version="1")
        before = await folded(bus)
    bus = await jetstream.connect(new.url, make=False)
    await restore(bus, plan(tmp_path / "backup"))
    await bus.aclose()
    return before


async def folded(bus):
    state = BUDGETS.initial()
    async for records in bus.log.read_all():
        for record in records:
            for envelope in decode(record.data):
                state = BUDGETS.apply(state, envelope)
    return state


async def killed(server, keep, folder):
    """`callboard split`, killed as soon as it has begun, then a while later, and so on until it gets done."""
    kills = 0
    async with connected(server) as bus:
        for number in range(8):
            arguments = ("split", "--keep", str(keep), "--yes", "--url", server.url)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLI, *arguments, cwd=folder, env=ENVIRON, stdout=asyncio.subprocess.DEVNULL
            )
            while process.returncode is None and not (await cell.read(bus.api)).begun:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0 if not number else 0.7 + 0.05 * number)
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            await process.wait()
            if (found := await cell.read(bus.api)).begun is None:
                assert found.shards == keep
                break
            with pytest.raises(BusError, match=f"half split: run `callboard split --keep {keep}` again"):
                await jetstream.connect(server.url)
    return kills


async def finished(bus):
    """How often each task was completed, by the log itself."""
    count = Counter()
    async for records in bus.log.read_all("evt.*.task.>"):
        for record in records:
            for envelope in decode(record.data):
                count[envelope.entity] += isinstance(envelope.event, events.Completed)
    return count


@pytest.mark.timeout(120)
async def test_a_log_with_much_under_way_is_split_in_two(tmp_path, go):
    """Everything finishes, once, where its shard is; no money is there twice; and the audits find nothing."""
    async with Node(settings(tmp_path / "old"), agents=AGENTS) as node:
        told = await begin(node.board)
    async with EmbeddedServer(tmp_path / "old", fsync="100ms") as old, EmbeddedServer(tmp_path / "new") as new:
        before = await copied(tmp_path, old, new)
        assert await killed(new, UPPER, tmp_path) >= 1
        async with connected(new) as bus:
            await check(bus, UPPER)
            await split(bus, UPPER)
        async with connected(old) as bus:
            await check(bus, LOWER)
            done = await split(bus, LOWER)
            assert (done.messages > 100, done.budgets) == (True, 2)
            assert (await split(bus, LOWER)).messages == 0
        go.touch()
        for folder in (tmp_path / "a", tmp_path / "b"):
            folder.mkdir()
            shutil.copy(tmp_path / "old" / "audit.key", folder)
        async with (
            Node(settings(tmp_path / "a", old.url), agents=AGENTS) as lower,
            Node(settings(tmp_path / "b", new.url), agents=AGENTS) as upper,
        ):
            await finish(told, lower.board, upper.board)
            await asyncio.sleep(1)  # leases are given back
            counts = [await finished(each.bus) for each in (lower, upper)]
            parts = [await folded(each.bus) for each in (lower, upper)]
            reports = [await audit(each.bus, Options()) for each in (lower, upper)]
    assert not {*counts[0]} & {*counts[1]}
    both = counts[0] + counts[1]
    assert {both[each] for each in (*told["done"], *told["open"])} == {1}
    assert {both[each] for each in told["parked"]} == {0}
    for report in reports:
        bad = [finding for finding in report.findings if finding.severity != "note"]
        assert (report.result, bad) == ("clean", [])
        assert report.counts["split"] == 1
        assert report.checked.covered > report.head.size - 500
    for name in ("org", "team"):
        check_money(name, before, parts)


def check_money(name, before, parts):
    """Together the parts may spend, and have spent, no more than the whole might have."""
    was = before.by_id[name]
    closed = was.settled - sum(held.settled for held in was.holds.values())
    limits = [part.by_id[name].limit - closed for part in parts]
    spent = [part.by_id[name].settled + part.by_id[name].held - closed for part in parts]
    assert sum(limits) <= was.limit - closed
    assert min(limits) > was.limit // 3
    assert all(used <= limit for used, limit in zip(spent, limits, strict=True))


async def finish(told, lower, upper):
    """All that was begun ends in the half that holds it, and is nothing that the other has heard of."""

    def halves(kind, name):
        return (lower, upper) if LOWER.holds(kind, name) else (upper, lower)

    for name in (*told["done"], *told["open"]):
        here, elsewhere = halves("task", name)
        outcome = await (await here.task(name)).result(40)
        assert outcome.status is Status.COMPLETED
        with pytest.raises(Elsewhere):
            await elsewhere.task(name)
    for name in told["parked"]:
        assert (await halves("task", name)[0].tasks.load(name)).state.status is Status.PARKED
    for name in told["asked"]:
        here, elsewhere = halves("approval", name)
        await here.approval(name).approve(by="bob")
        with pytest.raises(Elsewhere):
            await elsewhere.approval(name).approve(by="bob")
    for board in (lower, upper):
        for each in await board.approvals.all():
            if each.status == "waiting":
                await board.approval(each.id).deny(by="bob")
    for number, (agent, message) in enumerate(told["sent"]):
        here, elsewhere = halves("agent", agent.replace("/", "--"))
        answer = await here.messages.message(agent, message).result(40)
        assert answer == [f"DRAFT {number}", "approved" if number < 6 else "denied"]
        with pytest.raises(Elsewhere):
            await elsewhere.send(agent, 1)
    for board, shard in ((lower, "05"), (upper, "25")):
        assert [each.id for each in await board.schedules.all()] == [f"{shard}-hourly"]
        assert "the plan" in (await board.context(f"{shard}-plan").read()).messages[0].content
        new = [await board.submit("new", needs=ECHO, budget="team", max_tokens=10) for _ in range(8)]
        assert {board.bus.shards.holds("task", each.id) for each in new} == {True}
        await asyncio.gather(*(each.result(20) for each in new))


async def test_what_can_not_be_split(tmp_path, go):
    """While a node works, into what it does not hold, and where it would cut what belongs together."""
    async with Node(settings(tmp_path / "old")) as node:
        async with connected(node) as bus:
            with pytest.raises(BusError, match="a node works on this log: it takes from the queue"):
                await check(bus, LOWER)
        await node.board.context("05-plan").say("the plan")
        await node.board.submit("and?", context="05-plan", id="25-reads", needs=HELD)
    async with EmbeddedServer(tmp_path / "old") as server, connected(server) as bus:
        with pytest.raises(InvalidInput, match=r"task 25-reads \(shard 37\) needs context 05-plan \(shard 5\)"):
            await check(bus, LOWER)
        await check(bus, Shards.parse("0-63"))
        most = Shards.parse("0-40")
        await check(bus, most)
        await split(bus, most)
        with pytest.raises(InvalidInput, match="this log holds 0-40, and not 41-63"):
            await check(bus, UPPER)
        async with connected(server) as another:
            assert another.shards == most
        await split(bus, Shards.parse("0-36"))
        assert [len(await bus.hot.away()) > 0, len(bus.cell.splits)] == [True, 2]
        report = await audit(bus, Options())
        assert (report.result, report.counts["split"]) == ("clean", 1)


class Death(Exception):
    """What a process dies of, here."""


async def test_it_dies_at_each_of_its_steps(tmp_path, monkeypatch):
    """However often it dies, and before or after whichever change: in the end it is as if it had not."""
    ask = Api.request

    def mortal(fatal):
        """Requests of which that one is the last that changes anything; a negative one does so yet."""
        sent = 0

        async def request(api, subject, *arguments, **options):
            nonlocal sent
            changes = any(word in subject for word in ("UPDATE", "PURGE", "DELETE", "blob.", "timer.set"))
            sent += changes
            if changes and sent == fatal:
                raise Death
            answer = await ask(api, subject, *arguments, **options)
            if changes and sent == -fatal:
                raise Death
            return answer

        return request

    async with EmbeddedServer(tmp_path / "data", fsync="1s") as server:
        async with connected(server) as bus:
            board = Board(bus, "test")
            await board.set_budget("org", limit=1001)
            mine = {f"{number:02x}-t" for number in range(32)}
            for number in range(64):
                await board.submit("x", id=f"{number:02x}-t", budget="org", timeout_s=600)
                await bus.signals.publish("submit.task", b'{"input": "x", "id": "%02x-s"}' % number)
        deaths = 0
        for fatal in (each * sign for each in (*range(1, 12), *range(12, 1000, 13)) for sign in (1, -1)):
            async with connected(server) as bus:
                monkeypatch.setattr(Api, "request", mortal(fatal))
                try:
                    await split(bus, LOWER)
                    break
                except Death:
                    deaths += 1
                finally:
                    monkeypatch.setattr(Api, "request", ask)
        assert deaths > 25
        async with connected(server) as bus:
            assert bus.cell.begun is None
            assert (await folded(bus)).by_id["org"].limit == 500
            assert {task.id for task in await every_task(bus)} == mine
            assert len(await bus.hot.away()) == 32
            streams = {each.name: each.messages for each in (await bus.report()).streams}
            assert (streams["SUBMISSIONS"], streams["TIMERS"]) == (32, 32)
            assert (await audit(bus, Options())).result == "clean"


async def test_a_log_with_an_archive(tmp_path, go):
    """It is completed, has all that there was, and goes on in each half; of the other half nothing is seen there."""
    async with Node(settings(tmp_path / "old")) as node:
        tasks = [await node.board.submit(f"done {n}", needs=ECHO) for n in range(30)]
        await asyncio.gather(*(each.result(20) for each in tasks))
        held = [await node.board.submit(f"held {n}", needs=HELD) for n in range(10)]
    ids = {each.id for each in (*tasks, *held)}
    async with EmbeddedServer(tmp_path / "old", fsync="100ms") as old, EmbeddedServer(tmp_path / "new") as new:
        async with connected(old) as bus:
            log = await go_back(bus, tmp_path / "a")
            await Archiver(log).archive(at_least=1, rest=0)
            assert (await Purger(log, bus.snapshots, keep_ns=0).purge()).entities >= 30
            await node_task(bus, "after")
        await copied(tmp_path, old, new)
        shutil.copy(tmp_path / "old" / "audit.key", tmp_path / "a")
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        go.touch()
        for server, keep, folder in ((old, LOWER, tmp_path / "a"), (new, UPPER, tmp_path / "b")):
            mine = {name for name in ids if keep.holds("task", name)}
            async with connected(server) as bus:
                log = await go_back(bus, folder, whole=True)
                await split(bus, keep)
                await log.check()
                assert {task.id for task in await every_task(bus)} - {"05-after"} == mine
            apart = replace(settings(folder, server.url), archive=Archive(on=True, folder=str(folder)))
            async with Node(apart) as node:
                for name in mine:
                    assert (await (await node.board.task(name)).result(30)).status is Status.COMPLETED
                await Archiver(node.bus.log).archive(at_least=1, rest=0)
                await Purger(node.bus.log, node.bus.snapshots, keep_ns=0).purge()
                assert {task.id for task in await every_task(node.bus)} - {"05-after"} == mine
                report = await audit(node.bus, Options(), archive=partial(examined, folder))
                assert (report.result, report.counts["split"]) == ("clean", 1)


async def node_task(bus, name):
    await Board(bus, "test").submit("late", id=f"05-{name}", needs=ECHO)


async def every_task(bus):
    return [loaded.state for loaded in await Entities(bus.log, TASK, "test").all()]
