"""Kill -9 under load, start again, and time how long it takes until the next task is completed.

One backend, one router, one nats-server, so that each is needed for every task. For each victim: milliseconds from the
kill, and from the moment the restarted process says it is ready, to the next task that is submitted after the kill and
completed; and the longest silence between two completions.

    python tests/benchmarks/bench_recovery.py [--rounds 5]
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

sys.path.insert(0, str(Path(__file__).parents[1]))

import itertools

from servers.troupe import Troupe, troupe

from callboard.actors.board import Board
from callboard.bus import jetstream

RATE = 50


async def load(board: Board, ended: list[tuple[float, float]]) -> None:
    """Submit for ever at a steady rate; notes when each task was submitted and when it ended."""

    async def one() -> None:
        began = time.monotonic()
        task = await board.submit("hello there")
        await task.result(60)
        ended.append((began, time.monotonic()))

    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(one())
            await asyncio.sleep(1 / RATE)


async def kill(cast: Troupe, who: str, ended: list[tuple[float, float]]) -> tuple[float, float, float]:
    killed = time.monotonic()
    await cast.kill_and_restart(who)
    ready = time.monotonic()
    while not (fresh := [end for begin, end in ended if begin > killed and end > killed]):
        await asyncio.sleep(0.005)
    await asyncio.sleep(3)
    ends = sorted(end for _, end in ended if end > killed - 1)
    silence = max(later - earlier for earlier, later in itertools.pairwise(ends))
    return (min(fresh) - killed) * 1e3, max(min(fresh) - ready, 0) * 1e3, silence * 1e3


async def measure(rounds: int) -> dict[str, object]:
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with troupe(Path(folder), backends=("a",), latency_ms=20) as cast:
            bus = await jetstream.connect(cast.nats.url, name="audience")
            ended: list[tuple[float, float]] = []
            loading = asyncio.create_task(load(Board(bus, "client#1"), ended))
            await asyncio.sleep(2)
            for who in ("nats", "router", "a"):
                took = [await kill(cast, who, ended) for _ in range(rounds)]
                names = ("kill_to_completion_ms", "ready_to_completion_ms", "longest_silence_ms")
                name = "worker" if who == "a" else who
                result[name] = {
                    key: {"median": round(statistics.median(values)), "worst": round(max(values))}
                    for key, values in zip(names, zip(*took, strict=True), strict=True)
                }
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await bus.aclose()
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    head = {
        "benchmark": "recovery",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    print(json.dumps(head | asyncio.run(measure(given.rounds)), indent=2))


if __name__ == "__main__":
    main()
