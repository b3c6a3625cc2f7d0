"""A log is split in two while much is under way: each half goes on on a server of its own, nothing is done twice."""

import asyncio
import shutil
import signal
import sys
from collections import Counter

import pytest
from servers import nats_binary
from servers.halves import HALVES
from servers.held_backend import ECHO, HELD, held_until, leaving, settings
from servers.logs_to_split import budgets, connected, copied
from servers.troupe import CLI
from servers.working_directory import ENVIRON

import callboard
from callboard.actors.auditor import audit
from callboard.bus import cell, jetstream
from callboard.bus.errors import BusError
from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.splitting import check, split
from callboard.events import task as events
from callboard.events.envelope import decode
from callboard.events.errors import Elsewhere
from callboard.events.ids import shard_of
from callboard.events.task import Status
from callboard.projections.audit import Options

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

LOWER, UPPER = HALVES
LIMIT = 50_000_000


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


async def test_a_log_with_much_under_way_is_split_in_two(tmp_path, monkeypatch):
    """Everything finishes, once, where its shard is; no money is there twice; and the audits find nothing."""
    await nats_binary.needed()
    go = held_until(tmp_path / "go", monkeypatch)
    async with leaving(tmp_path / "old", *AGENTS) as node:
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
            parts = [await budgets(each.bus) for each in (lower, upper)]
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
