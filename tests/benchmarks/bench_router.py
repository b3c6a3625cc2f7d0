"""From a submission in the log to its assignment: one node's router over a real nats-server, at a steady rate.

Prints one JSON object. The clock starts when the append of ``submitted`` is acknowledged, as it is for whoever submits,
and stops when a follower of the log on another connection sees ``assigned``.

    python tests/benchmarks/bench_router.py [--fsync always,100ms] [--rate 500] [--seconds 8] [--backends 20]
"""

import argparse
import asyncio
import json
import logging
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import structlog

from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Router, Settings, Telemetry
from callboard.events.money import Price

ROLES = ("router", "timekeeper", "backends")


def settings(folder: str, fsync: str, backends: int) -> Settings:
    one = Backend(provider="callable", function="instant_model:answer", price=Price(1000, 1000), concurrency=64)
    return Settings(
        data=folder,
        nats=Nats(fsync=fsync),
        router=Router(policy="balanced"),
        backends={f"b{number}": one for number in range(backends)},
        telemetry=Telemetry(traces="off"),
    )


async def assignments(node: Node, rate: int, seconds: float) -> dict[str, float]:
    """Submit at a steady rate; how long each waited for its assignment."""
    bus = await jetstream.connect(node.url, name="bench")
    board, submitted, seen = Board(bus, "bench"), {}, {}

    async def listen() -> None:
        async for batch in bus.log.follow("evt.*.task.*.assigned.>", after=await bus.log.end()):
            at = time.perf_counter()
            for record in batch:
                seen.setdefault(record.subject.split(".")[3], at)

    async def one() -> None:
        handle = await board.submit("hi")
        submitted[handle.id] = time.perf_counter()

    listening, begun, loop = asyncio.create_task(listen()), [], asyncio.get_running_loop()
    await asyncio.sleep(0.2)
    start = loop.time()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        begun.append(asyncio.create_task(one()))
    await asyncio.gather(*begun)
    took_s = loop.time() - start
    while submitted.keys() - seen.keys():
        await asyncio.sleep(0.01)
    listening.cancel()
    await bus.aclose()
    waited = sorted(max(seen[task_id] - at, 0.0) for task_id, at in submitted.items())
    return {
        "p50_ms": round(waited[len(waited) // 2] * 1e3, 2),
        "p99_ms": round(waited[int(len(waited) * 0.99)] * 1e3, 2),
        "worst_ms": round(waited[-1] * 1e3, 2),
        "tasks": len(waited),
        "rate": round(len(waited) / took_s),
    }


async def measure(fsync: str, rate: int, seconds: float, backends: int) -> list[dict[str, float]]:
    collect_seldom()
    with tempfile.TemporaryDirectory() as folder:
        async with Node(settings(folder, fsync, backends), roles=ROLES) as node:
            await assignments(node, rate, 2.0)
            return [await assignments(node, rate, seconds) for _ in range(3)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fsync", default="always,100ms")
    arguments.add_argument("--rate", type=int, default=500)
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--backends", type=int, default=20)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    result: dict[str, object] = {
        "benchmark": "router",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "backends": given.backends,
    }
    for fsync in given.fsync.split(","):
        rounds = asyncio.run(measure(fsync, given.rate, given.seconds, given.backends))
        result[f"fsync {fsync}"] = sorted(rounds, key=lambda one: one["p99_ms"])[1]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
