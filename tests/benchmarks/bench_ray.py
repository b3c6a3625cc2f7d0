"""Tasks a second on Ray, on one machine, by how many replicas a backend and the router have.

A model takes the same time for each call, so that a replica of ``--slots`` can do slots / time of them, and no more.
Prints one JSON object: how long deploying took, from nothing and anew; tasks a second; how long `callboard scale` took
until all replicas ran; and from `assigned` in the log to `started` by a replica, for tasks one after another.

    python tests/benchmarks/bench_ray.py [--tasks 500] [--model-ms 400] [--slots 8] [--plot FILE]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgspec
from servers.troupe import MODEL_SERVER, Process
from servers.working_directory import COMMAND

import callboard
from callboard.actors.backend.heartbeat import Heartbeat
from callboard.bus.log import Note
from callboard.bus.server import EmbeddedServer
from callboard.bus.subjects import entity, heartbeat
from callboard.events.backend import Scaled
from callboard.events.envelope import decode
from callboard.events.task import Assigned, Started

REPLICAS = (1, 2, 4)
ROUTERS = (1, 2)
SETTINGS = """
[nats]
url = "{url}"
fsync = "{fsync}"
[telemetry]
traces = "off"
[router]
hedge_percent = 0
[ray]
routers = {routers}
[backends.model]
provider = "openai"
model = "scripted"
url = "{model}"
concurrency = {slots}
price = {{ input = 0, output = 0 }}
"""


class App:
    """The application, as the command line deploys it."""

    def __init__(self, folder: Path, given: argparse.Namespace, url: str, model: str) -> None:
        self.folder, self.given, self.url, self.model = folder, given, url, model

    def deploy(self, *args: str, routers: int = 1) -> dict[str, Any]:
        text = SETTINGS.format(
            url=self.url, fsync=self.given.fsync, model=self.model, slots=self.given.slots, routers=routers
        )
        (self.folder / "callboard.toml").write_text(text)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "CALLBOARD_"))}
        command = [*COMMAND, "deploy", *args, "--json"]
        done = subprocess.run(command, cwd=self.folder, env=environ, stdout=subprocess.PIPE, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        return told


class Heard:
    """The replicas of the backend, by their heartbeats."""

    def __init__(self, board: callboard.Board) -> None:
        self.board = board
        self.alive: set[str] = set()

    async def hear(self, note: Note) -> None:
        beat = msgspec.json.decode(note.data, type=Heartbeat)
        (self.alive.discard if beat.leaves else self.alive.add)(beat.replica)

    async def scaled(self, replicas: int) -> float:
        """Seconds until so many work."""
        began = time.perf_counter()
        await self.board.change("model", Scaled(replicas, "benchmark"))
        while len(self.alive) != replicas:
            await asyncio.sleep(0.01)
        return time.perf_counter() - began


async def rate(board: callboard.Board, tasks: int) -> float:
    """Tasks a second, from the first submission to the last answer."""
    began = time.perf_counter()
    handles = [await board.submit(f"question {number}") for number in range(tasks)]
    await asyncio.gather(*(handle.result(300) for handle in handles))
    return tasks / (time.perf_counter() - began)


async def to_start(board: callboard.Board, tasks: int) -> list[float]:
    """Milliseconds from `assigned` to `started`, by the events' own times, sorted."""
    took = []
    for number in range(tasks):
        handle = await board.submit(f"one {number}")
        await handle.result(60)
        events = [e for record in await board.bus.log.read(entity("task", handle.id)) for e in decode(record.data)]
        [assigned], [started] = ([e.time for e in events if isinstance(e.event, kind)] for kind in (Assigned, Started))
        took.append((started - assigned).total_seconds() * 1e3)
    return sorted(took)


async def measured(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(EmbeddedServer(folder / "nats", fsync=given.fsync))
        latency = ("--port", "0", "--latency-ms", str(given.model_ms))
        model = Process(sys.executable, str(MODEL_SERVER), *latency, cwd=folder, log=folder / "model.log")
        stack.push_async_callback(model.stop)
        await model.start()
        app = App(folder, given, nats.url, f"http://127.0.0.1:{model.ready['port']}/v1")
        first = await asyncio.to_thread(app.deploy, "up", "--ray")
        try:
            board = await stack.enter_async_context(callboard.connect(nats.url))
            again = await asyncio.to_thread(app.deploy, "up", "--ray")
            start_ms = await to_start(board, 200)
            heard, rows = Heard(board), []
            await board.bus.signals.subscribe(heartbeat("model", "*"), heard.hear)
            for routers in ROUTERS:
                await asyncio.to_thread(app.deploy, "up", "--ray", routers=routers)
                for replicas in REPLICAS:
                    scaling_s = await heard.scaled(replicas)
                    await rate(board, 50)
                    rates = [await rate(board, given.tasks) for _ in range(given.runs)]
                    row = {"routers": routers, "replicas": replicas, "tasks_per_s": round(statistics.median(rates), 1)}
                    rows.append(row | {"scaled_after_s": round(scaling_s, 1)})
        finally:
            await asyncio.to_thread(app.deploy, "down")
    return {
        "up_s": round(first["seconds"], 1),
        "up_again_s": round(again["seconds"], 1),
        "assigned_to_started_ms": {"p50": round(start_ms[100], 2), "p99": round(start_ms[198], 2)},
        "most_of_one_replica_per_s": round(given.slots / given.model_ms * 1e3, 1),
        "runs": rows,
    }


def plotted(result: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for routers in ROUTERS:
        rows = [row for row in result["runs"] if row["routers"] == routers]
        label = f"{routers} router{'s' if routers > 1 else ''}"
        axes.plot([row["replicas"] for row in rows], [row["tasks_per_s"] for row in rows], "o-", label=label)
    most = result["most_of_one_replica_per_s"]
    axes.plot(REPLICAS, [most * replicas for replicas in REPLICAS], ":", color="grey", label="what the model allows")
    axes.set(xlabel="replicas of the backend", ylabel="tasks a second", xticks=REPLICAS, ylim=0)
    axes.set_title(f"On Ray: {result['machine']}, {result['date']}", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=500)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--model-ms", type=int, default=400)
    arguments.add_argument("--slots", type=int, default=8)
    arguments.add_argument("--fsync", default="100ms")
    arguments.add_argument("--plot", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(measured(given, Path(folder)))
    result = {
        "benchmark": "ray",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "fsync": given.fsync,
        **told,
    }
    print(json.dumps(result, indent=2))
    if given.plot:
        plotted(result, given.plot)


if __name__ == "__main__":
    main()
