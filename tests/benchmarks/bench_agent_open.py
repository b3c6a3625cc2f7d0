"""How fast agents open, and how much they take on disk, with a real nats-server.

Three agents: one with few events, one that has worked through thousands of messages (its state is small), and one that
is still at its first message, in thousands of steps (its state is large). Prints one JSON object: milliseconds to open
each in a new process and in a running one that does not know it, with the snapshot that was just written and with
almost the most events after it that there are; without snapshots; how large the snapshot is; and what the server stores
for the bytes of what the steps gave, which is text.

    python tests/benchmarks/bench_agent_open.py [--steps 15000] [--opens 100] [--processes 15] [--fsync 100ms]
"""

import argparse
import asyncio
import json
import logging
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from callboard.actors.agents.apart import Apart
from callboard.bus import jetstream
from callboard.bus.entities import AGENT, Entities
from callboard.bus.entity_snapshots import EVERY, EntitySnapshots
from callboard.bus.log import Bus
from callboard.bus.server import EmbeddedServer
from callboard.events.agent_events import Began, Finished, Received, Stepped, Taken, Value
from callboard.events.agent_names import id_of

ROOT = Path(__file__).parents[2]


class Writer:
    """Writes what an agent does, as a host would, and knows how many bytes its steps gave."""

    def __init__(self, bus: Bus, name: str, snapshots: EntitySnapshots | None) -> None:
        self.payload = 0
        self._id = id_of(name)
        self._entities = Entities(bus.log, AGENT, "writer", snapshots=snapshots)
        self._words = "".join((ROOT / name).read_text() for name in ("README.md", "ARCHITECTURE.md")).split()
        self._dice = random.Random(1)

    async def messages(self, number: int, first: int = 0) -> None:
        """Five events each, in three messages of the log."""
        for count in range(first, first + number):
            name = f"m{count}"
            await self._tell(
                Received(name, Value({"question": "what next?"}), by="cli"), Taken(name, "host", count + 1)
            )
            await self._tell(Began("model"))
            await self._tell(Stepped("model", self._result()), Finished(name, Value("done")))

    async def steps(self, number: int, first: int = 0) -> None:
        """Two events each, in one message of the log."""
        if not first:
            await self._tell(Received("m", Value("go"), by="cli"), Taken("m", "host", 1), Began("step-0"))
        for count in range(first, first + number):
            await self._tell(Stepped(f"step-{count}", self._result()), Began(f"step-{count + 1}"))

    async def _tell(self, *events: object) -> None:
        await self._entities.tell(self._id, lambda _: events)

    def _result(self) -> Value:
        """One to two KiB, as a model's answer."""
        words, size, wanted = [], 0, self._dice.randint(1024, 2048)
        while size < wanted:
            words.append(self._dice.choice(self._words))
            size += len(words[-1]) + 1
        value = {"role": "assistant", "content": " ".join(words), "usage": {"input": 1234, "output": size // 4}}
        self.payload += len(msgspec.json.encode(value))
        return Value(value)


async def opened(url: str, name: str, *, snapshots: bool = True) -> float:
    """Milliseconds to open an agent over a new connection."""
    bus = await jetstream.connect(url, name="reader")
    entities = Entities(bus.log, AGENT, "reader", snapshots=EntitySnapshots(bus, AGENT) if snapshots else None)
    began = time.perf_counter()
    await entities.load(id_of(name))
    took = time.perf_counter() - began
    await bus.aclose()
    return took * 1e3


async def opens(url: str, name: str, given: argparse.Namespace) -> dict[str, float]:
    """In new processes, and in this one."""
    command = [sys.executable, __file__, "--open", url, name]
    cold = [
        float((await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)).stdout)
        for _ in range(given.processes)
    ]
    warm = sorted([await opened(url, name) for _ in range(given.opens)])
    return {
        "cold_process_median_ms": round(statistics.median(cold), 2),
        "cold_process_worst_ms": round(max(cold), 2),
        "median_ms": round(statistics.median(warm), 2),
        "p99_ms": round(warm[int(len(warm) * 0.99)], 2),
    }


async def results(url: str, name: str) -> dict[str, float]:
    """How long a handler that begins again waits for the first of its results, and for all."""
    bus = await jetstream.connect(url, name="reader")
    loaded = await Entities(bus.log, AGENT, "reader", snapshots=EntitySnapshots(bus, AGENT)).load(id_of(name))
    assert loaded.state.work
    steps = loaded.state.work.steps
    apart, took = Apart(bus, steps), list[float]()
    began = time.perf_counter()
    for count in range(len(steps) - 1):
        await apart.whole(f"step-{count}", steps[f"step-{count}"])
        took.append(time.perf_counter() - began)
    await bus.aclose()
    return {"first_result_ms": round(took[0] * 1e3, 2), "all_results_ms": round(took[-1] * 1e3, 2)}


async def _late(worst: list[float]) -> None:
    """How late this process gets its turn, at worst."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        worst[0] = max(worst[0], (time.perf_counter() - began) * 1e3 - 1)


async def stall(bus: Bus, name: str) -> float:
    """For how long others wait, at worst, while a snapshot of the agent is written."""
    snapshots = EntitySnapshots(bus, AGENT, saves=True, every=1)
    loaded, worst = await Entities(bus.log, AGENT, "reader").load(id_of(name)), [0.0]
    late = asyncio.create_task(_late(worst))
    await asyncio.sleep(0.05)
    worst[0] = 0.0
    snapshots.note(loaded)
    await snapshots.settled()
    late.cancel()
    return round(worst[0], 2)


async def measure(shape: str, number: int, given: argparse.Namespace) -> dict[str, object]:
    """One agent on a server of its own."""
    found: dict[str, object] = {}
    for snapshots in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            async with EmbeddedServer(Path(folder), fsync=given.fsync) as server:
                bus = await jetstream.connect(server.url, fsync=given.fsync)
                saves = EntitySnapshots(bus, AGENT, saves=snapshots)
                writer = Writer(bus, shape, saves)
                write: Callable = writer.steps if shape == "steps" else writer.messages
                began = time.perf_counter()
                await write(number)
                await saves.settled()
                took = time.perf_counter() - began
                stored = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
                log = next(stream for stream in (await bus.report()).streams if stream.name == "EVENTS")
                key = "with_snapshots" if snapshots else "without_snapshots"
                found[key] = part = {
                    "payload_bytes": writer.payload,
                    "stream_bytes": log.bytes,
                    "stored_bytes": stored,
                    "stored_ratio": round(stored / writer.payload, 3),
                    "writing_s": round(took, 2),
                }
                if not snapshots:
                    times = [await opened(server.url, shape, snapshots=False) for _ in range(5)]
                    part["open_median_ms"] = round(statistics.median(times), 2)
                else:
                    part["snapshot_bytes"] = len(await bus.snapshots.load(f"agent/{id_of(shape)}") or b"")
                    part["open"] = await opens(server.url, shape, given)
                    if number > EVERY:
                        part["stall_ms"] = await stall(bus, shape)
                        without = Writer(bus, shape, None)
                        write = without.steps if shape == "steps" else without.messages
                        await write((EVERY - 10) // (2 if shape == "steps" else 5), number)
                        part["open_with_tail"] = await opens(server.url, shape, given)
                    if shape == "steps":
                        part |= await results(server.url, shape)
                await bus.aclose()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=15_000)
    arguments.add_argument("--opens", type=int, default=100)
    arguments.add_argument("--processes", type=int, default=15)
    arguments.add_argument("--fsync", default="100ms")
    arguments.add_argument("--open", nargs=2, metavar=("URL", "AGENT"), help="open one, and print how long it took")
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if given.open:
        print(asyncio.run(opened(*given.open)))
        return
    result: dict[str, object] = {
        "benchmark": "agent_open",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "every": EVERY,
        "few": asyncio.run(measure("few", 6, given)),
        "messages": asyncio.run(measure("messages", given.steps * 2 // 5, given)),
        "steps": asyncio.run(measure("steps", given.steps, given)),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
