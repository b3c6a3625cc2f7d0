"""Callboard: an agent on a host, over an embedded nats-server, all in this process but for nats-server itself.

A step is a ``turn.run``; a hand-off is a ``turn.handoff`` to another agent, which lives on the same host.
"""

import argparse
import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from measuring import SMALL, Clock, Ledger, answer, between, growth, payload, run, there_and_back

from callboard.actors.agents.definition import Definition, agent
from callboard.actors.agents.host import Host
from callboard.actors.board import Board
from callboard.actors.timekeeper import Timekeeper
from callboard.bus import jetstream
from callboard.bus.entities import TASK, Entities
from callboard.bus.server import EmbeddedServer

FSYNC = {"full": "always", "relaxed": "100ms"}
PAUSE_S = 0.005


@asynccontextmanager
async def board(asked: argparse.Namespace, *agents: Definition) -> AsyncIterator[Board]:
    """A node: nats-server unless there is one, the keeper of time, and a host of the agents."""
    async with AsyncExitStack() as stack:
        if not (url := asked.url):
            server = EmbeddedServer(asked.folder / "data", fsync=FSYNC[asked.sync])
            url = (await stack.enter_async_context(server)).url
        bus = await jetstream.connect(url, name="node")
        stack.push_async_callback(bus.aclose)
        host = Host(bus, secrets.token_hex(4), agents)
        actors = Timekeeper(bus, Entities(bus.log, TASK, "timekeeper")), host
        running = [asyncio.create_task(actor.run()) for actor in actors]
        await host.ready.wait()
        yield Board(bus, "client")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def stepper(asked: argparse.Namespace, clock: Clock, results: list[str]) -> Definition:
    """An agent that takes steps, and collects what they give."""

    @agent("stepper")
    async def work(turn, count: int):
        async def step(number):
            clock.mark()
            return payload(number, asked.size)

        for number in range(count):
            if clock.over:
                break
            results.append(await turn.run(f"step {number}", step, number))

    return work


async def steps(asked: argparse.Namespace) -> None:
    clock = Clock(asked.limit_s)
    async with board(asked, stepper(asked, clock, [])) as on:
        await (await on.send("stepper", asked.count)).result()
    answer("callboard", f"fsync {FSYNC[asked.sync]}", **between(clock.marks))


async def storage(asked: argparse.Namespace) -> None:
    clock, results = Clock(asked.limit_s), list[str]()
    async with board(asked, stepper(asked, clock, results)) as on:
        await (await on.send("stepper", asked.count)).result()
    assert len(results) == len(clock.marks)
    answer("callboard", f"fsync {FSYNC[asked.sync]}", **growth(clock.marks, asked.folder, asked.size))


async def handoffs(asked: argparse.Namespace) -> None:
    left, arrived, returned = list[float](), list[float](), list[float]()

    @agent("boss")
    async def boss(turn, count: int):
        for number in range(count):
            left.append(time.perf_counter())
            await turn.handoff(f"ask {number}", "scout/1", payload(number, SMALL))
            returned.append(time.perf_counter())

    @agent("scout")
    async def scout(turn, question: str):
        arrived.append(time.perf_counter())
        return question[::-1]

    async with board(asked, boss, scout) as on:
        await (await on.send("boss", asked.count)).result()
    answer("callboard", f"fsync {FSYNC[asked.sync]}", **there_and_back(left, arrived, returned))


async def recovery(asked: argparse.Namespace) -> None:
    ledger = Ledger(asked.ledger)

    @agent("stepper")
    async def work(turn, count: int):
        async def step(number):
            await asyncio.sleep(PAUSE_S)
            ledger.ran(number)
            return payload(number, SMALL)

        for number in range(count):
            await turn.run(f"step {number}", step, number)

    async with board(asked, work) as on:
        if not asked.again:
            await on.send("stepper", asked.count)
        await asyncio.sleep(3600)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    measures = {"steps": steps, "handoffs": handoffs, "storage": storage, "recovery": recovery}
    run({name: lambda asked, measure=measure: asyncio.run(measure(asked)) for name, measure in measures.items()})
