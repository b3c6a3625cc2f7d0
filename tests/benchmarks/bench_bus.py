"""Speed of the bus on this machine; prints one JSON object. Run: `python tests/benchmarks/bench_bus.py`.

With `--servers 3` it is a cluster of three, with one copy of everything and with three; and it says for how
long nothing is acknowledged after the leader of the log is killed -9.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from callboard.bus import jetstream
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.log import Write
from callboard.bus.server import EmbeddedServer

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers.nats_cluster import NatsCluster

PAYLOAD = b"x" * 256
SEQUENTIAL = 1_000
PIPELINED = 20_000
RECORDS = 200_000
JOBS = 20_000
KILLS = 4


def writes(numbers: count) -> Callable[[], Write]:
    """New entities over all shards, one message each."""

    def make() -> Write:
        number = next(numbers)
        return Write(f"evt.{number % 64}.task.{number % 64:02x}-{number:026d}.submitted", PAYLOAD, 0)

    return make


def micros(samples: list[float]) -> dict[str, int]:
    """The median and the 99th percentile in microseconds."""
    ordered = sorted(samples)
    return {"p50_us": round(ordered[len(ordered) // 2] * 1e6), "p99_us": round(ordered[len(ordered) * 99 // 100] * 1e6)}


async def each(number: int, act: Callable[[], Awaitable[Any]]) -> dict[str, int]:
    """How long ``act`` takes, one after another."""
    samples = []
    for _ in range(number):
        start = time.perf_counter()
        await act()
        samples.append(time.perf_counter() - start)
    return micros(samples)


async def rate(total: int, window: int, act: Callable[[], Awaitable[Any]]) -> int:
    """How many a second when ``window`` are under way at any time."""

    async def worker() -> None:
        for _ in range(total // window):
            await act()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(window)))
    return round(total / (time.perf_counter() - start))


async def appends(bus: JetStreamBus, make: Callable[[], Write]) -> dict[str, Any]:
    """One at a time, then pipelined."""

    async def append() -> None:
        await bus.log.append(make())

    found: dict[str, Any] = {"append": await each(SEQUENTIAL, append)}
    for window in (4, 16, 64, 256, 1000):
        found[f"appends_per_s_window_{window}"] = await rate(min(PIPELINED, 500 * window), window, append)
    return found


async def replay(bus: JetStreamBus, make: Callable[[], Write]) -> dict[str, Any]:
    """Read the whole log as fast as it comes; read entities of it."""
    while await bus.log.end() < RECORDS:
        await bus.log.append_batch([make() for _ in range(1000)])
    start = time.perf_counter()
    records = 0
    async for batch in bus.log.read_all():
        records += len(batch)
    seconds = time.perf_counter() - start
    entity = "evt.7.task.07-long"
    last = 0
    for _ in range(100):
        last = await bus.log.append(Write(f"{entity}.progressed", PAYLOAD, last))
    return {
        "replay_records_per_s": round(records / seconds),
        "read_entity_of_100": await each(50, lambda: bus.log.read(entity)),
        "read_entity_of_1_after": await each(200, lambda: bus.log.read(entity, after=last - 1)),
        "read_unknown_entity": await each(200, lambda: bus.log.read("evt.7.task.07-unknown")),
        "end": await each(200, bus.log.end),
    }


async def queue(bus: JetStreamBus, make: Callable[[], Write]) -> dict[str, Any]:
    """Take and acknowledge a backlog, then one message at a time from an idle queue."""
    await bus.log.append_batch([make() for _ in range(1000)])
    work = await bus.queue("bench", "evt.*.task.>", max_in_flight=1000)
    deliveries = work.deliveries()
    start = time.perf_counter()
    for _ in range(JOBS):
        await (await anext(deliveries)).ack()
    found: dict[str, Any] = {"pull_and_ack_per_s": round(JOBS / (time.perf_counter() - start))}
    await work.aclose()
    idle = (await bus.queue("idle", "evt.*.agent.>")).deliveries()

    async def hand_over() -> None:
        number = make().subject.split(".")[3]
        appending = asyncio.ensure_future(bus.log.append(Write(f"evt.1.agent.{number}.woken", PAYLOAD, 0)))
        await (await anext(idle)).ack()
        await appending

    return found | {"append_to_delivery": await each(300, hand_over)}


async def follow(bus: JetStreamBus, make: Callable[[], Write]) -> dict[str, Any]:
    """From an append to the follower that sees it."""
    follower = bus.log.follow(after=await bus.log.end())

    async def seen() -> None:
        appending = asyncio.ensure_future(bus.log.append(make()))
        await anext(follower)
        await appending

    await seen()
    found = {"append_to_follower": await each(300, seen)}
    await follower.aclose()
    return found


async def failover(cluster: NatsCluster, make: Callable[[], Write]) -> dict[str, Any]:
    """The longest time between two acknowledgements when the log's leader is killed -9, for each kill."""
    bus = await jetstream.connect(cluster.url, replicas=len(cluster.nodes))
    gaps = []
    for _ in range(KILLS):
        leader = await cluster.leader("EVENTS")
        last = longest = 0.0
        until = None
        while until is None or time.perf_counter() < until:
            await bus.log.append(make())
            now = time.perf_counter()
            longest, last = max(longest, now - last if last else 0.0), now
            if until is None:
                cluster.kill(leader)
                until = now + 2
            await asyncio.sleep(0.005)
        gaps.append(round(longest, 2))
        await cluster.start(leader)
        await cluster.ready()
    await bus.aclose()
    return {"no_progress_s": sorted(gaps)}


async def clustered(servers: int) -> dict[str, Any]:
    """Appends, reads and deliveries for both ways to sync, with one copy and with as many as there are servers."""
    results: dict[str, Any] = {}
    for fsync in ("always", "100ms"):
        with tempfile.TemporaryDirectory() as folder:
            async with NatsCluster(Path(folder), servers=servers, fsync=fsync) as cluster:
                make = writes(count())
                for replicas in (1, servers):
                    bus = await jetstream.connect(cluster.url, fsync=fsync, replicas=replicas)
                    found = await appends(bus, make) | await follow(bus, make)
                    entity = make().subject.rpartition(".")[0]
                    found["read_unknown_entity"] = await each(200, lambda entity=entity, bus=bus: bus.log.read(entity))
                    results[f"{fsync}, {replicas} of {servers}"] = found
                    await bus.aclose()
                results[f"{fsync}, the leader killed"] = await failover(cluster, make)
    return results


async def main() -> None:
    """Run everything for both ways to sync."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=1, help="how many nats-servers; over 1, as a cluster")
    if (servers := parser.parse_args().servers) > 1:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        print(json.dumps(await clustered(servers), indent=1))
        return
    results: dict[str, Any] = {}
    for fsync in ("always", "100ms"):
        with tempfile.TemporaryDirectory() as folder:
            async with EmbeddedServer(Path(folder), fsync=fsync) as server:
                bus = await jetstream.connect(server.url, fsync=fsync)
                make = writes(count())
                results[fsync] = {}
                for measure in (appends, follow, replay, queue):
                    results[fsync] |= await measure(bus, make)
                await bus.aclose()
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
