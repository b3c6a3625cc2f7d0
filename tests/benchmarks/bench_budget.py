"""Reservations of money from one budget (and the one above it), through leases and without, from 1 and 4 routers.

A reservation is done when the assignment that it pays for is in the log. Without leases each one is held at both
budgets by writes of its own. Routers are connections of one process. ``overspend`` is what was reserved over the limit,
which is too low for the last tenth of the reservations. Prints one JSON object.

    python tests/benchmarks/bench_budget.py [--fsync 100ms] [--reservations 4000] [--outstanding 64]
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router.escrow import Draft, Escrow
from callboard.bus import jetstream
from callboard.bus.clock import new_entity_id
from callboard.bus.entities import BUDGET, TASK, Entities
from callboard.bus.errors import Conflict
from callboard.bus.server import EmbeddedServer
from callboard.deploy.garbage import collect_seldom
from callboard.events.budget import Budget, Refunded, Reserved
from callboard.events.envelope import decode
from callboard.events.errors import BudgetExceeded
from callboard.events.task import Assigned, Submitted, Task
from callboard.events.task_spec import Decision, Hold, TaskSpec
from callboard.projections.live import LIVE

NEED = 100
DECISION = Decision("bench", "", 0)
Reserve = Callable[[], Awaitable[bool]]


class Desk:
    """What one router has of money."""

    def __init__(self, bus: jetstream.JetStreamBus, name: str) -> None:
        self.projector = Projector(bus, *LIVE)
        self.tasks: Entities[Task] = Entities(bus.log, TASK, name)
        self.budgets: Entities[Budget] = Entities(bus.log, BUDGET, name)
        self.escrow = Escrow(self.budgets, self.projector, name)

    async def through_lease(self) -> bool:
        task_id, draft = new_entity_id(), Draft(self.escrow)
        self.tasks.assume_new(task_id)

        def wish(_: Task) -> list[object]:
            lease = self.escrow.draw(draft, "team", NEED, datetime.now(UTC))
            if lease is None:
                draft.lacks = None if draft.purse else ("team", NEED)
                return []
            return _assigned(lease.id)

        return bool((await self.escrow.pay(draft, partial(self.tasks.tell, task_id, wish))).appended)

    async def by_itself(self) -> bool:
        task_id, held = new_entity_id(), list[str]()
        self.tasks.assume_new(task_id)
        reserved = Reserved(task_id, NEED, "team")
        try:
            for level in ("team", "org"):
                await _insist(self.budgets, level, reserved)
                held.append(level)
        except BudgetExceeded:
            for level in held:
                await _insist(self.budgets, level, Refunded(task_id))
            return False
        await self.tasks.tell(task_id, lambda _: _assigned(task_id))
        return True


def _assigned(lease: str) -> list[object]:
    hold = Hold("team", NEED, 1, 1, lease)
    return [Submitted(TaskSpec(input="x")), Assigned("a", 1, 1, DECISION, hold=hold)]


async def _insist(budgets: Entities[Budget], level: str, event: Reserved | Refunded) -> None:
    while True:
        try:
            await budgets.tell(level, lambda _: [event])
        except Conflict:
            continue
        return


async def measure(fsync: str, routers: int, reservations: int, outstanding: int, *, leases: bool) -> dict[str, object]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = await stack.enter_async_context(EmbeddedServer(Path(folder), fsync=fsync))

        async def dial() -> jetstream.JetStreamBus:
            bus = await jetstream.connect(server.url, fsync=fsync)
            stack.push_async_callback(bus.aclose)
            return bus

        limit = reservations * NEED * 9 // 10
        client = await dial()
        board = Board(client, "client")
        await board.set_budget("org", limit=limit)
        await board.set_budget("team", limit=10 * limit, parent="org")
        desks = [Desk(await dial(), f"router#{number}") for number in range(routers)]
        for desk in desks:
            await desk.projector.catch_up()
        following = [asyncio.create_task(desk.projector.run()) for desk in desks]
        took: list[float] = []

        async def work(reserve: Reserve, number: int) -> None:
            for _ in range(number):
                began = time.perf_counter()
                if await reserve():
                    took.append(time.perf_counter() - began)

        lanes = [(desk, lane) for desk in desks for lane in range(outstanding // routers)]
        began = time.perf_counter()
        await asyncio.gather(
            *(work(desk.through_lease if leases else desk.by_itself, reservations // len(lanes)) for desk, _ in lanes)
        )
        seconds = time.perf_counter() - began
        for each in following:
            each.cancel()
        reserved = await _reserved(client)
        took.sort()
        return {
            "routers": routers,
            "leases": leases,
            "reservations_per_s": round(len(took) / seconds),
            "p50_ms": round(statistics.median(took) * 1e3, 2),
            "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 2),
            "reserved": len(took),
            "overspend_micros": max(reserved - limit, 0),
        }


async def _reserved(bus: jetstream.JetStreamBus) -> int:
    events = [e.event async for batch in bus.log.read_all() for record in batch for e in decode(record.data)]
    return sum(event.hold.amount for event in events if isinstance(event, Assigned) and event.hold)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fsync", default="100ms")
    arguments.add_argument("--reservations", type=int, default=4000)
    arguments.add_argument("--outstanding", type=int, default=64)
    given = arguments.parse_args()
    collect_seldom()
    runs = [
        asyncio.run(measure(given.fsync, routers, given.reservations, given.outstanding, leases=leases))
        for routers in (1, 4)
        for leases in (True, False)
    ]
    print(
        json.dumps(
            {
                "benchmark": "budget",
                "date": datetime.now(UTC).date().isoformat(),
                "machine": f"{platform.machine()}, Python {platform.python_version()}",
                "fsync": given.fsync,
                "outstanding": given.outstanding,
                "runs": runs,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
