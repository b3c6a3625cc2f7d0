"""A log is split in two: what can not be, whatever dies meanwhile, and with an archive of what was before."""

import asyncio
import shutil
from functools import partial

import pytest
from msgspec.structs import replace
from servers import nats_binary
from servers.halves import HALVES
from servers.held_backend import ECHO, HELD, held_until, leaving, settings
from servers.logs_to_split import budgets, connected, copied, tasks

from callboard.actors.archiver import Archiver
from callboard.actors.auditor import audit
from callboard.actors.board import Board
from callboard.actors.purger import Purger
from callboard.bus.api import Api
from callboard.bus.archive.examined import examined
from callboard.bus.errors import BusError
from callboard.bus.server import EmbeddedServer
from callboard.deploy.archive import go_back
from callboard.deploy.node import Node
from callboard.deploy.settings import Archive
from callboard.deploy.splitting import check, split
from callboard.events.errors import InvalidInput
from callboard.events.shards import Shards
from callboard.events.task import Status
from callboard.projections.audit import Options

LOWER, UPPER = HALVES


@pytest.fixture(autouse=True, scope="module")
def _nats_server():
    asyncio.run(nats_binary.needed())


async def test_what_can_not_be_split(tmp_path, monkeypatch):
    """While a node works, into what it does not hold, and where it would cut what belongs together."""
    held_until(tmp_path / "never", monkeypatch)
    monkeypatch.setattr("callboard.deploy.splitting.GONE_S", 0.2)
    async with leaving(tmp_path / "old") as node:
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
            assert (await budgets(bus)).by_id["org"].limit == 500
            assert {task.id for task in await tasks(bus)} == mine
            assert len(await bus.hot.away()) == 32
            streams = {each.name: each.messages for each in (await bus.report()).streams}
            assert (streams["SUBMISSIONS"], streams["TIMERS"]) == (32, 32)
            assert (await audit(bus, Options())).result == "clean"


async def test_a_log_with_an_archive(tmp_path, monkeypatch):
    """It is completed, has all that there was, and goes on in each half; of the other half nothing is seen there."""
    go = held_until(tmp_path / "go", monkeypatch)
    async with leaving(tmp_path / "old") as node:
        done = [await node.board.submit(f"done {n}", needs=ECHO) for n in range(30)]
        await asyncio.gather(*(each.result(20) for each in done))
        held = [await node.board.submit(f"held {n}", needs=HELD) for n in range(10)]
    ids = {each.id for each in (*done, *held)}
    async with EmbeddedServer(tmp_path / "old", fsync="100ms") as old, EmbeddedServer(tmp_path / "new") as new:
        async with connected(old) as bus:
            log = await go_back(bus, tmp_path / "a")
            await Archiver(log).archive(at_least=1, rest=0)
            assert (await Purger(log, bus.snapshots, keep_ns=0).purge()).entities >= 30
            await Board(bus, "test").submit("late", id="05-after", needs=ECHO)
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
                assert {task.id for task in await tasks(bus)} - {"05-after"} == mine
            apart = replace(settings(folder, server.url), archive=Archive(on=True, folder=str(folder)))
            async with Node(apart) as node:
                for name in mine:
                    assert (await (await node.board.task(name)).result(30)).status is Status.COMPLETED
                await Archiver(node.bus.log).archive(at_least=1, rest=0)
                await Purger(node.bus.log, node.bus.snapshots, keep_ns=0).purge()
                assert {task.id for task in await tasks(node.bus)} - {"05-after"} == mine
                report = await audit(node.bus, Options(), archive=partial(examined, folder))
                assert (report.result, report.counts["split"]) == ("clean", 1)
