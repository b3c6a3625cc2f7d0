"""A replica, a router, a Ray node, a nats-server are killed while a backend is scaled: nothing is lost or doubled."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from servers import nats_binary
from servers.nats_cluster import NatsCluster
from servers.troupe import MODEL_SERVER, Process
from servers.working_directory import COMMAND

import callboard
from callboard.bus import jetstream
from callboard.events import task
from callboard.events.backend import Scaled
from callboard.events.envelope import decode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TASKS = 1000
PAUSE_S = 0.02
SERVER_DOWN_S = 3.0
RAY_CLUSTER = Path(__file__).parents[1] / "servers" / "ray_cluster.py"
SETTINGS = """
[nats]
url = "{urls}"
replicas = 3
[telemetry]
traces = "off"
[ray]
address = "{address}"
routers = 2
drain = "10s"
[backends.model]
provider = "openai"
model = "scripted"
url = "{model}"
concurrency = 4
price = {{ input = 1.0, output = 2.0 }}
"""


class Stage:
    """The application on Ray, as the command line sees it."""

    def __init__(self, folder: Path, nats: NatsCluster, head: int) -> None:
        self.folder = folder
        self.nats = nats
        self.head = head

    async def command(self, *args: str, code: int = 0) -> dict:
        """What a command prints."""
        child = await asyncio.create_subprocess_exec(
            *COMMAND, *args, "--json", cwd=self.folder, env=os.environ, stdout=-1, stderr=-1
        )
        told, errors = await child.communicate()
        assert child.returncode == code, errors.decode()
        return json.loads(told)

    async def replicas(self, deployment: str) -> list[int]:
        """The processes of a deployment's replicas."""
        status = await self.command("deploy", "status")
        [found] = [each for each in status["deployments"] if each["deployment"] == deployment]
        return [each["pid"] for each in found["replicas"] if each["state"] == "RUNNING" and each["pid"]]

    async def has(self, deployment: str, count: int, without: int = 0) -> list[int]:
        """The processes as soon as there are so many, and ``without`` is none of them."""
        async with asyncio.timeout(90):
            while len(pids := await self.replicas(deployment)) != count or without in pids:
                await asyncio.sleep(0.2)
        return pids

    async def all_run(self, without: set[int]) -> None:
        """Returns when every deployment has the replicas that it is to have, in other processes than those."""
        async with asyncio.timeout(90):
            while True:
                found = (await self.command("deploy", "status"))["deployments"]
                pids = {each["pid"] for one in found for each in one["replicas"]}
                if all(one["running"] == one["wanted"] for one in found) and not pids & without:
                    return
                await asyncio.sleep(0.2)

    async def kill_replica(self, deployment: str) -> None:
        """As a crash would: there is another one soon."""
        victim, *others = await self.replicas(deployment)
        os.kill(victim, signal.SIGKILL)
        await self.has(deployment, len(others) + 1, without=victim)

    async def kill_node(self) -> None:
        """The raylet, not the head's, that has the most replicas; these end with it, and are placed elsewhere."""
        status = await self.command("deploy", "status")
        pids = [each["pid"] for one in status["deployments"] for each in one["replicas"]]
        places = Counter(parent_of(pid) for pid in pids)
        del places[self.head]
        [(raylet, _)] = places.most_common(1)
        lost = {pid for pid in pids if parent_of(pid) == raylet}
        os.kill(raylet, signal.SIGKILL)
        await self.all_run(without=lost)

    async def kill_server(self) -> None:
        """The nats-server that leads the log; it comes back, and has all that it missed."""
        leader = await self.nats.leader("EVENTS")
        self.nats.kill(leader)
        await asyncio.sleep(SERVER_DOWN_S)
        await self.nats.start(leader)
        await self.nats.ready()


def parent_of(pid: int) -> int:
    """The process that started this one; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@asynccontextmanager
async def stage(folder: Path):
    """Three nats-servers, a model server, four Ray nodes, and the application on them."""
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsCluster(folder / "nats", fsync="always"))
        ledger = folder / "model.ledger"
        ledger.touch()
        model = Process(
            sys.executable, str(MODEL_SERVER), "--port", "0", "--latency-ms", "100", "--ledger", str(ledger),
            cwd=folder, log=folder / "model.log",
        )  # fmt: skip
        nodes = Process(sys.executable, str(RAY_CLUSTER), "--nodes", "4", cwd=folder, log=folder / "ray.log")
        for process in (model, nodes):
            stack.push_async_callback(process.stop)
            await process.start()
        (folder / "callboard.toml").write_text(
            SETTINGS.format(
                urls=nats.url,
                address=nodes.ready["address"],
                model=f"http://127.0.0.1:{model.ready['port']}/v1",
            )
        )
        acting = Stage(folder, nats, nodes.ready["head"])
        await acting.command("deploy", "up", "--ray")
        yield acting
        await acting.command("deploy", "down")


async def test_nothing_is_lost_or_doubled(tmp_path):
    """1,000 tasks while a backend is scaled 1, 4, 1; a replica, a router, a Ray node and a nats-server are killed."""
    await nats_binary.needed()
    async with stage(tmp_path) as acting, callboard.connect(acting.nats.url) as board:

        async def scale(replicas: int) -> None:
            await board.change("model", Scaled(replicas, "the test wants it"))
            await acting.has("backend-model", replicas)

        asked = []

        async def ask(count: int) -> None:
            for _ in range(count):
                handle = await board.submit(f"question {len(asked)}")
                asked.append(asyncio.create_task(handle.result(200)))
                await asyncio.sleep(PAUSE_S)

        disturbances = [
            lambda: scale(4),
            lambda: acting.kill_replica("backend-model"),
            lambda: acting.kill_replica("router"),
            acting.kill_node,
            acting.kill_server,
            lambda: scale(1),
        ]
        for disturb in disturbances:
            asking = asyncio.create_task(ask(TASKS // len(disturbances)))
            await disturb()
            await asking
        await ask(TASKS - len(asked))
        outcomes = await asyncio.gather(*asked)

        assert Counter(outcome.status for outcome in outcomes) == {task.Status.COMPLETED: TASKS}
        assert {outcome.output for outcome in outcomes} == {f"question {number}" for number in range(TASKS)}
        bus = await jetstream.connect(acting.nats.url)
        history = [e async for batch in bus.log.read_all() for record in batch for e in decode(record.data)]
        await bus.aclose()
        completed = Counter(e.entity for e in history if isinstance(e.event, task.Completed))
        assert len(completed) == TASKS
        assert set(completed.values()) == {1}
        calls = Counter(f"{e.entity}-{e.event.call}" for e in history if isinstance(e.event, task.Started))
        assert set(calls.values()) == {1}
        ledger = [json.loads(line) for line in (tmp_path / "model.ledger").read_text().splitlines()]
        assert {line["call_id"] for line in ledger} <= calls.keys(), "a call was made that the log does not know"
        report = await acting.command("audit")
        assert report["result"] == "clean", report["findings"]
