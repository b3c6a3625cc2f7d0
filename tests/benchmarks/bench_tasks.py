"""Whole tasks on one node with a real nats-server: latency at a steady rate, and sustained throughput.

Prints one JSON object. Every event is durable; with ``fsync`` always it is on the disk when acknowledged.

    python tests/benchmarks/bench_tasks.py [--fsync always,100ms] [--tasks 3000] [--rate 100]
"""

import argparse
import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events.money import Price

CALLABLE = Backend(provider="callable", function="instant_model:answer", price=Price(1000, 1000), concurrency=256)


def settings(folder: str, fsync: str) -> Settings:
    return Settings(
        data=folder, nats=Nats(fsync=fsync), backends={"instant": CALLABLE}, telemetry=Telemetry(traces="off")
    )


async def latency(node: Node, rate: int, seconds: float) -> dict[str, float]:
    """Submit at a steady rate; from before `submit` to the answer in hand."""
    took: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        task = await node.board.submit("hi")
        await task.result(30)
        took.append(time.perf_counter() - began)

    begun, loop = [], asyncio.get_running_loop()
    start = loop.time()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        begun.append(asyncio.create_task(one()))
    await asyncio.gather(*begun)
    took.sort()
    return {
        "p50_ms": round(statistics.median(took) * 1e3, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2),
        "tasks": len(took),
    }


async def throughput(node: Node, tasks: int, window: int) -> float:
    """Tasks a second, ``window`` outstanding at a time."""
    slots = asyncio.Semaphore(window)

    async def one() -> None:
        async with slots:
            await (await node.board.submit("hi")).result(60)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(tasks)))
    return tasks / (time.perf_counter() - began)


async def measure(fsync: str, tasks: int, rate: int) -> dict[str, object]:
    collect_seldom()
    with tempfile.TemporaryDirectory() as folder:
        async with Node(settings(folder, fsync), roles=("intake", "router", "timekeeper", "backends")) as node:
            await throughput(node, 200, 32)
            steady = await latency(node, rate, 8.0)
            rounds = [round(await throughput(node, tasks, 512)) for _ in range(3)]
            return {"latency": {"rate": rate, **steady}, "tasks_per_s": sorted(rounds), "median": sorted(rounds)[1]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fsync", default="always,100ms")
    arguments.add_argument("--tasks", type=int, default=3000)
    arguments.add_argument("--rate", type=int, default=100)
    given = arguments.parse_args()
    result: dict[str, object] = {
        "benchmark": "tasks",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    for fsync in given.fsync.split(","):
        result[f"fsync {fsync}"] = asyncio.run(measure(fsync, given.tasks, given.rate))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
