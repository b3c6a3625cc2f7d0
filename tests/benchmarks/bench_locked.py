"""What locked doors cost: reading, following and appending with a key that lives in an account of its own.

python tests/benchmarks/bench_locked.py
"""

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers.locked_nats import locked

from callboard.bus.jetstream import JetStreamBus
from callboard.bus.log import Write

EVENTS = 60_000
APPENDS = 5_000
RUNS = 3
FOLLOWED = 100


async def reading(bus: JetStreamBus) -> float:
    """Events in a second."""
    began, number = time.perf_counter(), 0
    async for records in bus.log.read_all():
        number += len(records)
    assert number >= EVENTS
    return number / (time.perf_counter() - began)


async def appending(bus: JetStreamBus, name: str) -> float:
    """Appends in a second."""
    writes = [Write(f"evt.3.task.{name}{n}.parked", bytes(500), 0) for n in range(APPENDS)]
    began = time.perf_counter()
    await asyncio.gather(*map(bus.log.append, writes))
    return APPENDS / (time.perf_counter() - began)


async def following(bus: JetStreamBus, writer: JetStreamBus, name: str) -> float:
    """Seconds from the call that appends to the event in another process's follower, at the median."""
    follower = bus.log.follow("evt.*.budget.>", after=await writer.log.end())
    took = []
    for number in range(FOLLOWED):
        waiting = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        await writer.log.append(Write(f"evt.3.budget.{name}{number}.reserved", b"x", 0))
        await waiting
        took.append(time.perf_counter() - began)
    await follower.aclose()
    return median(took)


async def main() -> None:
    with TemporaryDirectory() as folder:
        async with locked(Path(folder) / "keys") as nats:
            operator, auditor, router = [await nats.bus(role) for role in ("operator", "auditor", "router")]
            for first in range(0, EVENTS, 1000):
                writes = [Write(f"evt.{n % 64}.task.t{n}.submitted", bytes(500), 0) for n in range(first, first + 1000)]
                await operator.log.append_batch(writes)
            for role, bus in (("operator", operator), ("auditor", auditor)):
                rates = [await reading(bus) for _ in range(RUNS)]
                print(f"reading as {role}: {', '.join(f'{rate:,.0f}' for rate in sorted(rates))} events/s")
            for role, bus in (("operator", operator), ("router", router)):
                rates = [await appending(bus, f"{role}-{run}-") for run in range(RUNS)]
                print(f"appending as {role}, each synced: {', '.join(f'{rate:,.0f}' for rate in sorted(rates))}/s")
            for role, bus in (("operator", operator), ("auditor", auditor)):
                print(f"following as {role}: {await following(bus, operator, role) * 1000:.2f} ms at the median")


asyncio.run(main())
