"""From a submission in the log to its assignment: one node over a real nats-server, at a steady rate.

Prints one JSON object. The load comes from a process of its own, on a connection of its own: there the clock starts
when the append of ``submitted`` is acknowledged, and stops when a follower of the log sees ``assigned``. Beside it is
what an fsync took meanwhile, in the folder that nats-server writes to, and the same in memory (/dev/shm) if there is
such. It is measured in a log of few tasks and in one of many: up to 65,536 subjects (16,000 tasks) nats-server goes
through all of them for each queue whenever it begins a new file, beyond that it does not.

    python tests/benchmarks/bench_router.py [--fsync always,100ms] [--before 1000,20000] [--rate 500] [--seconds 8]
        [--backends 20]
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).parent))

import structlog

from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Router, Settings, Telemetry
from callboard.events.money import Price

ROLES = ("router", "timekeeper", "backends")
MEMORY = Path("/dev/shm")
ROUNDS = 3


def settings(folder: str, fsync: str, backends: int) -> Settings:
    one = Backend(provider="callable", function="instant_model:answer", price=Price(1000, 1000), concurrency=64)
    return Settings(
        data=folder,
        nats=Nats(fsync=fsync),
        router=Router(policy="balanced"),
        backends={f"b{number}": one for number in range(backends)},
        telemetry=Telemetry(traces="off"),
    )


def spread(seconds: list[float]) -> dict[str, float]:
    """Their median, their 99th percentile and the worst, in milliseconds."""
    ordered = sorted(seconds)
    places = {"p50_ms": len(ordered) // 2, "p99_ms": int(len(ordered) * 0.99), "worst_ms": -1}
    return {name: round(ordered[place] * 1e3, 2) for name, place in places.items()}


class FsyncProbe:
    """Writes a few bytes and syncs them, 50 times a second, beside what nats-server writes."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / "fsync-probe"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.took: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with self._path.open("wb") as file:
            while not self._ended.wait(0.02):
                file.write(bytes(300))
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                self.took.append(time.perf_counter() - began)


async def assignments(url: str, rate: int, seconds: float) -> dict[str, float]:
    """Submit at a steady rate; how long each waited for its assignment."""
    bus = await jetstream.connect(url, name="bench")
    board, submitted, seen = Board(bus, "bench"), {}, {}

    async def listen() -> None:
        async for batch in bus.log.follow("evt.*.task.*.assigned.>", after=await bus.log.end()):
            at = time.perf_counter()
            for record in batch:
                seen.setdefault(record.subject.split(".")[3], at)

    async def one() -> None:
        handle = await board.submit("hi")
        submitted[handle.id] = time.perf_counter()

    listening, begun, loop = asyncio.create_task(listen()), set(), asyncio.get_running_loop()
    await asyncio.sleep(0.2)
    start = loop.time()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        begun.add(task := asyncio.create_task(one()))
        task.add_done_callback(begun.discard)
    await asyncio.gather(*begun)
    took_s = loop.time() - start
    while submitted.keys() - seen.keys():
        await asyncio.sleep(0.01)
    listening.cancel()
    await bus.aclose()
    waited = [max(seen[task_id] - at, 0.0) for task_id, at in submitted.items()]
    return spread(waited) | {"tasks": len(waited), "rate": round(len(waited) / took_s)}


async def load(url: str, folder: str, rate: int, seconds: float, before: int) -> list[dict[str, float]]:
    """What the process that makes the load does, once there were ``before`` tasks."""
    await assignments(url, rate, before / rate)
    rounds = []
    for _ in range(ROUNDS):
        with FsyncProbe(folder) as disk:
            found = await assignments(url, rate, seconds)
        rounds.append(found | {f"fsync_{name}": value for name, value in spread(disk.took).items()})
    return rounds


async def measure(place: Path | None, fsync: str, before: int, given: argparse.Namespace) -> dict[str, float]:
    """The round with the median p99 of a node whose data is in ``place``."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        async with Node(settings(folder, fsync, given.backends), roles=ROLES) as node:
            collect_seldom()
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--rate", str(given.rate), "--seconds", str(given.seconds)),
                *("--load", node.url, "--folder", folder, "--before", str(before)),
                stdout=asyncio.subprocess.PIPE,
            )
            told, _ = await child.communicate()
    return sorted(json.loads(told), key=lambda one: one["p99_ms"])[ROUNDS // 2]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fsync", default="always,100ms")
    arguments.add_argument("--before", default="1000,20000")
    arguments.add_argument("--rate", type=int, default=500)
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--backends", type=int, default=20)
    arguments.add_argument("--load", help=argparse.SUPPRESS)
    arguments.add_argument("--folder", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if given.load:
        collect_seldom()
        print(json.dumps(asyncio.run(load(given.load, given.folder, given.rate, given.seconds, int(given.before)))))
        return
    result: dict[str, object] = {
        "benchmark": "router",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "backends": given.backends,
    }
    places = {"disk": None} | ({"memory": MEMORY} if MEMORY.is_dir() else {})
    for (name, place), fsync, before in product(places.items(), given.fsync.split(","), given.before.split(",")):
        measured = asyncio.run(measure(place, fsync, int(before), given))
        result[f"{name}, fsync {fsync}, after {int(before):,} tasks"] = measured
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
