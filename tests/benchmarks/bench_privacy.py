"""What privacy costs: tasks from submitted to completed on a real node, private or not, and the bytes they take.

    python tests/benchmarks/bench_privacy.py [TASKS]

Run from the root of the project; prints JSON. Sealing and opening alone are measured without a server.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from callboard.bus.cipher import Cipher, new_key
from callboard.bus.entities import TASK, Entities
from callboard.bus.subjects import entity
from callboard.deploy.node import Node
from callboard.deploy.settings import Backend, Nats, Settings, Telemetry
from callboard.events.money import Price

TEXT = "Where is my parcel? It was due on Monday, and nobody can tell me where it is. " * 4
AT_ONCE = 16


def sealing() -> dict[str, float]:
    """Microseconds to seal and to open a value of so many bytes."""
    cipher, took = Cipher("ann", 1, new_key()), {}
    for size in (300, 3_000, 60_000):
        value = b"x" * size
        sealed = cipher.seal("task/t#1", value)
        for name, work in (
            ("seal", lambda v=value: cipher.seal("p", v)),
            ("open", lambda s=sealed: cipher.open("task/t#1", s)),
        ):
            began = time.perf_counter()
            for _ in range(2_000):
                work()
            took[f"{name} {size}"] = round((time.perf_counter() - began) / 2_000 * 1e6, 1)
    return took


async def tasks(node: Node, number: int, private: str | None) -> dict[str, float]:
    """Tasks one after another, then many at a time; then all are read back from the log."""
    board, alone, ids = node.board, [], []
    for _ in range(number // 10):
        began = time.perf_counter()
        task = await board.submit(TEXT, private=private)
        await task.result(20)
        alone.append((time.perf_counter() - began) * 1e3)
        ids.append(task.id)
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room:
            task = await board.submit(TEXT, private=private)
            await task.result(60)
            ids.append(task.id)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(number)))
    rate = number / (time.perf_counter() - began)
    histories = [await node.bus.log.read(entity("task", each)) for each in ids[:50]]
    size = sum(len(record.data) for history in histories for record in history) / len(histories)
    reader = Entities(node.bus.log, TASK, "reader", privacy=node.bus.privacy)
    began = time.perf_counter()
    for each in ids:
        await reader.load(each)
    return {
        "p50_ms": round(statistics.median(alone), 2),
        "tasks_per_s": round(rate),
        "bytes_per_task": round(size),
        "load_ms": round((time.perf_counter() - began) / len(ids) * 1e3, 3),
    }


async def main(number: int) -> None:
    echo = Backend(provider="callable", function="tests.servers.private_models:quotes", price=Price(1, 1))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data=str(Path(folder) / "data"),
            nats=Nats(fsync="100ms"),
            telemetry=Telemetry(traces="off"),
            backends={"echo": echo},
        )
        async with Node(settings) as node:
            await tasks(node, number // 10, None)
            found = {}
            for round_ in range(2):
                found[f"public {round_}"] = await tasks(node, number, None)
                found[f"private {round_}"] = await tasks(node, number, "ann")
    print(json.dumps({"microseconds": sealing(), **found}, indent=1))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
