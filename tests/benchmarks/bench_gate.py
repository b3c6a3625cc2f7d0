"""What the gate costs: whole tasks on one node, whose calls are made in it, or by a process beyond the gate.

The model answers at once, so that what is measured is Callboard alone. Prints one JSON object.

    python tests/benchmarks/bench_gate.py [--fsync always] [--tasks 3000] [--rate 100]
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_tasks import CALLABLE, latency, settings, throughput
from msgspec.structs import replace

from callboard.deploy import logs
from callboard.deploy.garbage import collect_seldom
from callboard.deploy.node import Node

ROLES = ("intake", "router", "timekeeper")
COMMAND = (sys.executable, "-c", "from callboard.deploy.cli import main; main()")
BEYOND = """
[backends.instant]
provider = "callable"
function = "instant_model:answer"
"""


@asynccontextmanager
async def here(folder: str, fsync: str) -> AsyncIterator[Node]:
    """A node that makes the calls itself."""
    async with Node(settings(folder, fsync), roles=(*ROLES, "backends")) as node:
        yield node


@asynccontextmanager
async def beyond(folder: str, fsync: str) -> AsyncIterator[Node]:
    """A node, and a process beyond its gate that makes the calls."""
    far = replace(settings(folder, fsync), backends={"instant": replace(CALLABLE, workers="remote")})
    async with Node(far, roles=(*ROLES, "gate")) as node:
        config = Path(folder) / "beyond.toml"
        config.write_text(BEYOND)
        args = ("up", "--config", str(config), "--url", node.url, "--role", "backend:instant", "--through-gate")
        path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *args, env={**os.environ, "PYTHONPATH": path}, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            yield node
        finally:
            process.terminate()
            await process.wait()


async def measure(way, fsync: str, tasks: int, rate: int) -> dict[str, object]:
    """As `bench_tasks` does; and what a task costs the node, its client and router included, in CPU time."""
    collect_seldom()
    with tempfile.TemporaryDirectory() as folder:
        async with way(folder, fsync) as node:
            await throughput(node, 200, 32)
            steady = await latency(node, rate, 8.0)
            before = time.process_time()
            rounds = sorted([round(await throughput(node, tasks, 512)) for _ in range(3)])
            cpu_ms = (time.process_time() - before) / (3 * tasks) * 1e3
            return {
                "latency": {"rate": rate, **steady},
                "tasks_per_s": rounds,
                "median": rounds[1],
                "cpu_ms_of_the_node_per_task": round(cpu_ms, 3),
            }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fsync", default="always")
    arguments.add_argument("--tasks", type=int, default=3000)
    arguments.add_argument("--rate", type=int, default=100)
    given = arguments.parse_args()
    logs.configure("warning")
    result: dict[str, object] = {
        "benchmark": "gate",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    for fsync in given.fsync.split(","):
        for name, way in (("here", here), ("beyond the gate", beyond)):
            result[f"{name}, fsync {fsync}"] = asyncio.run(measure(way, fsync, given.tasks, given.rate))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
