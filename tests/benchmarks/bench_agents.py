"""Agents on a real nats-server: how fast they hand over, how many rest on a host, how soon one is awake.

Prints one JSON object: the time from asking for a hand-off until the other's handler runs, and until its answer is
there; the messages handled in a second; then the memory of a host where so many agents rest on a long sleep, and the
time from the answer of a person until the handler of an agent that rested on it goes on, while all others rest.

    python tests/benchmarks/bench_agents.py [--handoffs 500] [--agents 100000] [--wakes 200] [--fsync always,100ms]
"""

import argparse
import asyncio
import json
import logging
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from callboard.actors.agents.definition import Definition, agent
from callboard.actors.agents.host import Host
from callboard.actors.agents.turn import Turn
from callboard.actors.board import Board
from callboard.bus import jetstream
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.server import EmbeddedServer
from callboard.deploy.garbage import collect_seldom
from callboard.events.agent_events import Rested
from callboard.events.envelope import decode

AT_A_TIME = 500
REST_S = 0.5


def spread(took: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, in ms."""
    took = sorted(took)
    return {"p50_ms": round(took[len(took) // 2] * 1e3, 2), "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2)}


class Living:
    """A host of some agents on a bus, for a while."""

    def __init__(self, bus: JetStreamBus, *definitions: Definition) -> None:
        self._host = Host(bus, "bench", definitions, rest_s=REST_S)

    async def __aenter__(self) -> None:
        self._running = asyncio.create_task(self._host.run())
        await self._host.ready.wait()

    async def __aexit__(self, *_error: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


async def handing_over(bus: JetStreamBus, board: Board, number: int) -> dict[str, Any]:
    """One agent hands over to another, again and again; then many messages at a time."""
    there, back = [], []

    @agent("asker")
    async def ask(turn: Turn, handoffs: int) -> None:
        for count in range(handoffs):
            began = time.perf_counter()
            arrived = await turn.handoff(f"to {count}", "answerer", count)
            there.append(arrived - began)
            back.append(time.perf_counter() - began)

    @agent("answerer")
    async def answer(_turn: Turn, _count: int) -> float:
        return time.perf_counter()

    async with Living(bus, ask, answer):
        await (await board.send("asker", 50)).result()
        there.clear()
        back.clear()
        await (await board.send("asker", number)).result()
        began = time.perf_counter()
        sent = await asyncio.gather(*(board.send(f"answerer/{count}", 0) for count in range(AT_A_TIME)))
        await asyncio.gather(*(message.result() for message in sent))
        rate = AT_A_TIME / (time.perf_counter() - began)
    return {"there": spread(there), "there_and_back": spread(back), "messages_a_second": round(rate)}


async def resting(bus: JetStreamBus, board: Board, agents: int, wakes: int) -> dict[str, Any]:
    """So many agents rest on a sleep; some others on a person, who answers one by one."""
    answered: dict[str, float] = {}
    took: list[float] = []

    @agent("sleeper")
    async def sleep(turn: Turn, days: int) -> None:
        await turn.sleep("long", days * 86_400)

    @agent("careful")
    async def ask(turn: Turn, _message: int) -> None:
        await turn.approve("may I", turn.agent)
        took.append(time.perf_counter() - answered[turn.agent])

    before = rss()
    async with Living(bus, sleep, ask):
        began = time.perf_counter()
        for start in range(0, agents, AT_A_TIME):
            numbers = range(start, min(start + AT_A_TIME, agents))
            await asyncio.gather(*(board.send(f"sleeper/{number}", 30) for number in numbers))
        messages = [await board.send(f"careful/{number}", 0) for number in range(wakes)]
        await all_rest(bus, agents + wakes)
        settled = time.perf_counter() - began
        after = rss()
        for asked in await board.approvals.all():
            answered[asked.requested.action] = time.perf_counter()
            await board.approval(asked.id).approve("bench")
            await asyncio.sleep(0.01)
        await asyncio.gather(*(message.result(60) for message in messages))
    grown = after - before
    return {
        "agents": agents + wakes,
        "host_rss_mib": round(after),
        "grown_mib": round(grown),
        "kib_each": round(grown * 1024 / agents, 2),
        "until_all_rest_s": round(settled, 1),
        "wake": spread(took),
    }


async def all_rest(bus: JetStreamBus, agents: int) -> None:
    """Wait until the log says of so many agents that they rest."""
    found: set[str] = set()
    async for batch in bus.log.follow("evt.*.agent.*.rested"):
        for record in batch:
            found.update(each.entity for each in decode(record.data) if isinstance(each.event, Rested))
        if len(found) >= agents:
            return


def rss() -> float:
    """Memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def measured(folder: Path, fsync: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it on a server of its own."""
    async with EmbeddedServer(folder, fsync=fsync) as server:
        bus = await jetstream.connect(server.url, name="host", fsync=fsync)
        board = Board(await jetstream.connect(server.url, name="client"), "client#1")
        found = await handing_over(bus, board, arguments.handoffs)
        if arguments.agents:
            found["resting"] = await resting(bus, board, arguments.agents, arguments.wakes)
            pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
            found["nats_server_rss_mib"] = round(pages * resource.getpagesize() / 2**20)
        await board.aclose()
        await bus.aclose()
    return found


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--handoffs", type=int, default=500)
    parser.add_argument("--agents", type=int, default=100_000)
    parser.add_argument("--wakes", type=int, default=200)
    parser.add_argument("--fsync", default="always,100ms")
    arguments = parser.parse_args()
    collect_seldom()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "at": f"{datetime.now(UTC):%F %T}Z"}
    for fsync in arguments.fsync.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found[fsync] = await measured(Path(folder), fsync, arguments)
        arguments.agents = 0  # once is enough: it is about memory
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
