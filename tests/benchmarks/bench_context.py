"""One shared context with many writers at a time, over one and more connections to a real nats-server.

Prints one JSON object: how long a writer waited until its message was in the log while all wrote without a pause, how
many messages got lost or came twice, and how long it takes to read and to fork a context of so many messages.

    python tests/benchmarks/bench_context.py [--writers 20] [--each 25] [--messages 10000] [--fsync always,100ms]
"""

import argparse
import asyncio
import json
import logging
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.bus.server import EmbeddedServer
from callboard.events.context import Say

AT_A_TIME = 100


async def contended(url: str, connections: int, writers: int, each: int) -> dict[str, float]:
    """All write to one context at a time, over so many connections, as if from as many processes."""
    boards = [Board(await jetstream.connect(url, name=f"writer-{n}"), f"writer#{n}") for n in range(connections)]
    name, took = f"contended-{connections}", list[float]()

    async def write(number: int) -> None:
        context = boards[number % connections].context(name)
        for count in range(each):
            began = time.perf_counter()
            await context.say(f"{number}/{count}")
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*map(write, range(writers)))
    whole = time.perf_counter() - began
    said = [message.content for message in (await boards[0].context(name).read()).messages]
    expected = {f"{number}/{count}" for number in range(writers) for count in range(each)}
    for board in boards:
        await board.aclose()
    took.sort()
    return {
        "p50_ms": round(took[len(took) // 2] * 1e3, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2),
        "worst_ms": round(took[-1] * 1e3, 2),
        "a_second": round(len(took) / whole),
        "lost": len(expected - set(said)),
        "twice": len(said) - len(set(said)),
    }


async def long(url: str, messages: int) -> dict[str, float]:
    """A long context: read by somebody who has never seen it, read again, and forked."""
    writer = Board(await jetstream.connect(url, name="writer"), "writer#long")
    for start in range(0, messages, AT_A_TIME):
        batch = (Say("user", f"message {start + number} " * 10) for number in range(AT_A_TIME))
        await writer.context("long").change(*batch)
    reader = Board(await jetstream.connect(url, name="reader"), "reader#1")
    found: dict[str, float] = {"messages": messages}
    for what in ("read_first", "read_again"):
        began = time.perf_counter()
        content = await reader.context("long").read()
        found[f"{what}_ms"] = round((time.perf_counter() - began) * 1e3, 2)
        assert len(content.messages) == messages
    took = []
    for number in range(20):
        began = time.perf_counter()
        await reader.context("long").fork(f"fork-{number}")
        took.append(time.perf_counter() - began)
    found["fork_p50_ms"] = round(sorted(took)[len(took) // 2] * 1e3, 2)
    for board in (writer, reader):
        await board.aclose()
    return found


async def measure(fsync: str, given: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedServer(Path(folder), fsync=fsync) as server:
            found: dict[str, object] = {
                f"over {connections} connections": await contended(server.url, connections, given.writers, given.each)
                for connections in sorted({1, 4, given.writers})
            }
            return found | {"long": await long(server.url, given.messages)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--writers", type=int, default=20)
    arguments.add_argument("--each", type=int, default=25)
    arguments.add_argument("--messages", type=int, default=10_000)
    arguments.add_argument("--fsync", default="always,100ms")
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    result: dict[str, object] = {
        "benchmark": "context",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "writers": given.writers,
    }
    for fsync in given.fsync.split(","):
        result[f"fsync {fsync}"] = asyncio.run(measure(fsync, given))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
