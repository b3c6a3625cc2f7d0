"""Answers with and without hedging, on two callable backends of which the cheaper stalls for 2 s in 2 % of its calls.

The policy is ``cheapest``, so it gets all the work; the other costs half as much again.

Prints one JSON object: latency from before `submit` to the answer, and what the second calls cost.

    python tests/benchmarks/bench_hedging.py [--tasks 3000] [--rate 100] [--percent 5]
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

from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Router, Settings, Telemetry
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.placement import Hedged
from callboard.events.task import Started
from callboard.projections.cost import COST

PRICES = {"stalling": Price(2_000_000, 2_000_000), "steady": Price(3_000_000, 3_000_000)}


def settings(folder: str, percent: int) -> Settings:
    return Settings(
        data=folder,
        nats=Nats(fsync="100ms"),
        router=Router(policy="cheapest", hedge_percent=percent),
        backends={
            name: Backend(provider="callable", function=f"stalling_model:{name}", price=price, concurrency=64)
            for name, price in PRICES.items()
        },
        telemetry=Telemetry(traces="off"),
    )


async def answers(node: Node, tasks: int, rate: int) -> dict[str, float]:
    """Submit at a steady rate."""
    took: list[float] = []

    async def one(number: int) -> None:
        began = time.perf_counter()
        await (await node.board.submit(f"question {number}", max_tokens=4)).result(60)
        took.append(time.perf_counter() - began)

    begun, loop = [], asyncio.get_running_loop()
    start = loop.time()
    for number in range(tasks):
        await asyncio.sleep(max(0.0, start + number / rate - loop.time()))
        begun.append(asyncio.create_task(one(number)))
    await asyncio.gather(*begun)
    await asyncio.sleep(0.5)
    await node.projector.reached(await node.bus.log.end())
    history = [e.event async for batch in node.bus.log.read_all() for record in batch for e in decode(record.data)]
    total = node.projector.state(COST).total
    took.sort()
    calls, hedges = (sum(isinstance(event, kind) for event in history) for kind in (Started, Hedged))
    return {
        "p50_ms": round(took[len(took) // 2] * 1e3, 1),
        "p95_ms": round(took[int(len(took) * 0.95)] * 1e3, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 1),
        "p999_ms": round(took[int(len(took) * 0.999)] * 1e3, 1),
        "hedges_percent_of_calls": round(100 * hedges / calls, 2),
        "cost_micros_per_task": round(total.cost / tasks, 3),
        "wasted_percent_of_cost": round(100 * total.wasted / total.cost, 2),
    }


async def measure(percent: int, tasks: int, rate: int) -> dict[str, float]:
    collect_seldom()
    with tempfile.TemporaryDirectory() as folder:
        roles = ("intake", "router", "timekeeper", "backends")
        async with Node(settings(folder, percent), roles=roles) as node:
            return await answers(node, tasks, rate)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=3000)
    arguments.add_argument("--rate", type=int, default=100)
    arguments.add_argument("--percent", type=int, default=5)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(
        json.dumps(
            {
                "benchmark": "hedging",
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, Python {platform.python_version()}",
                "without": asyncio.run(measure(0, given.tasks, given.rate)),
                f"at most {given.percent} %": asyncio.run(measure(given.percent, given.tasks, given.rate)),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
