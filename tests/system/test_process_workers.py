"""Workers in processes of their own: as many as wanted, started again when they die, and gone with the node."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from servers.working_directory import Folder, end

from callboard.bus.server import EmbeddedServer
from callboard.deploy.node import Node
from callboard.deploy.processes import Order, order
from callboard.deploy.settings import Backend, Nats, Privacy, Settings, Telemetry
from callboard.events import task
from callboard.events.backend import Scaled
from callboard.events.envelope import Envelope, decode
from callboard.events.money import Price
from callboard.events.scaling import Scaling
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS

MS = 1_000_000
TOML = """
[backends.busy]
provider = "callable"
function = "busy_models:busy"
workers = "processes"
replicas = 2
"""


def settings(folder: Path, url: str = "", **options) -> Settings:
    backend = Backend(
        provider="callable", function="servers.busy_models:busy", price=Price(1, 1), workers="processes", **options
    )
    nats = Nats(url=url, fsync="100ms")
    return Settings(data=str(folder), nats=nats, telemetry=Telemetry(traces="off"), backends={"busy": backend})


def replicas_of(parent: int) -> set[int]:
    """The processes of replicas that this one has started."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            stat, line = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if line.endswith(b"\0callboard.deploy.replica\0") and int(stat.rpartition(")")[2].split()[1]) == parent:
            found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether it runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(holds, timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.02)


async def told(node: Node) -> list[Envelope]:
    return [each async for batch in node.bus.log.read_all() for record in batch for each in decode(record.data)]


def ends(history: list[Envelope]) -> Counter[str]:
    """How often each task was completed."""
    return Counter(each.entity for each in history if isinstance(each.event, task.Completed))


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")


async def test_a_replica_in_a_process_of_its_own(tmp_path):
    """It holds another process than the node's; one that is killed is started again, and its task is done."""
    async with Node(settings(tmp_path, concurrency=1)) as node:
        pid = int((await (await node.board.submit("1", private="ann")).result(60)).output)
        assert replicas_of(os.getpid()) == {pid}
        long = await node.board.submit("1000")
        while (await long.state()).status is not Status.STARTED:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        outcome = await long.result(60)
        assert (outcome.status, outcome.calls) == (Status.COMPLETED, 2)
        assert {int(outcome.output)} == replicas_of(os.getpid()) != {pid}
    assert not replicas_of(os.getpid())


@pytest.mark.chaos
async def test_scaled_and_killed_under_load(tmp_path):
    """1 to 3 to 1 replicas while tasks flow and one is killed now and then: none lost, none done twice."""
    async with Node(settings(tmp_path, concurrency=2)) as node:
        asked, done = [], asyncio.Event()

        async def change() -> None:
            for wanted in (3, 1):
                await node.board.change("busy", Scaled(wanted))
                await until(lambda wanted=wanted: len(replicas_of(os.getpid())) == wanted)
                await asyncio.sleep(2)
                os.kill(min(replicas_of(os.getpid())), signal.SIGKILL)
                await asyncio.sleep(1)
            done.set()

        changing = asyncio.create_task(change())
        while not done.is_set():
            asked.append(await node.board.submit("60"))
            await asyncio.sleep(0.04)
        await changing
        outcomes = [await each.result(60) for each in asked]
        assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
        assert len({outcome.output for outcome in outcomes}) >= 3
        assert ends(await told(node)) == {each.id: 1 for each in asked}
        await until(lambda: len(replicas_of(os.getpid())) == 1)
    assert not replicas_of(os.getpid())


@pytest.mark.chaos
async def test_scaled_by_load_in_processes(tmp_path):
    """From none to several and back to none, by the load alone, on a server that is not the node's."""
    rules = Scaling(0, 3, 200 * MS, 0, 500 * MS, 2000 * MS, 2000 * MS)
    async with (
        EmbeddedServer(tmp_path / "nats", fsync="100ms") as server,
        Node(settings(tmp_path / "node", server.url, concurrency=1, scaling=rules)) as node,
    ):
        asked = [await node.board.submit("50") for _ in range(100)]
        outcomes = [await each.result(60) for each in asked]
        assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
        assert len({outcome.output for outcome in outcomes}) > 1
        await until(lambda: node.projector.state(BACKENDS).by_id["busy"].replicas == 0)
        await until(lambda: not replicas_of(os.getpid()))
        assert (await (await node.board.submit("1")).result(60)).status is Status.COMPLETED
        assert ends(await told(node)).most_common(1)[0][1] == 1


@pytest.mark.chaos
def test_a_killed_node_leaves_no_replica(tmp_path):
    """kill -9 of the node, while its replicas compute: some seconds later there are none, and no server."""
    folder = Folder(tmp_path)
    (tmp_path / "callboard.toml").write_text(TOML)
    (tmp_path / "busy_models.py").write_text((Path(__file__).parents[1] / "servers/busy_models.py").read_text())
    node, _ = folder.up()
    asyncio.run(until(lambda: len(replicas_of(node.pid)) == 2))
    children = replicas_of(node.pid)
    asked = [folder.json("submit", "2000", "--no-wait")["task"] for _ in range(4)]
    folder.until(asked[0], lambda shown: shown["status"] == "started")
    node.kill()
    node.communicate()
    asyncio.run(until(lambda: not any(map(alive, children)), 15.0))
    again, _ = folder.up()
    try:
        for each in asked:
            folder.until(each, lambda shown: shown["status"] == "completed")
        assert len(replicas_of(again.pid)) == 2
        assert not replicas_of(again.pid) & children
    finally:
        end(again)
    assert not replicas_of(again.pid)


@pytest.mark.chaos
async def test_a_replica_that_cannot_be_is_told_of(tmp_path, capfd):
    """A function that is not there: one line from the process, one from the node, which goes on trying."""
    wrong = settings(tmp_path)
    wrong.backends["busy"] = Backend(
        provider="callable", function="servers.busy_models:lazy", price=Price(1, 1), workers="processes"
    )
    said = ""
    async with Node(wrong):
        async with asyncio.timeout(30):
            while "ended with code 1" not in said:
                await asyncio.sleep(0.05)
                captured = capfd.readouterr()
                said += captured.out + captured.err
    assert "replica busy/0: callable 'servers.busy_models:lazy': module servers.busy_models has no lazy" in said


def test_what_a_replica_is_told(tmp_path):
    """The server's address, what belongs to it in the node's folder, its own backend alone; it can be written down."""
    given = settings(tmp_path)
    given.backends["other"] = Backend(provider="openai", model="m", url="http://127.0.0.1:1/v1")
    made = order(given, "busy", 3, "nats://127.0.0.1:4222")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Order) == made
    assert (made.settings.nats.url, made.number, [*made.settings.backends]) == ("nats://127.0.0.1:4222", 3, ["busy"])
    assert made.settings.privacy == Privacy(master_key_file=str(tmp_path / "privacy.key"))
    outside = settings(tmp_path, "nats://10.0.0.1:4222")
    assert order(outside, "busy", 0, "nats://10.0.0.1:4222").settings.privacy == Privacy()
