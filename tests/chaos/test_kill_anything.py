"""Any process may be killed at any moment: no task is lost, none ends twice, and the money adds up."""

import asyncio
import random
from collections import Counter

import pytest
from servers.budget_auditor import audit
from servers.troupe import Troupe, troupe

from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.bus import jetstream
from callboard.bus.entities import TASK, Entities
from callboard.events import task
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.task import ENDED
from callboard.projections.cost import COST
from callboard.projections.live import LIVE
from callboard.projections.load import LOAD
from callboard.projections.projection import dump, fold

TASKS_SENT = 500
PRICE = Price(input=1_000_000, output=2_000_000)
LIMITS, PARENTS = {"org": 1_500_000, "team": 700_000}, {"org": None, "team": "org"}


async def havoc(cast: Troupe, rounds: int, seed: int, done: asyncio.Event) -> None:
    """Kill one after another, each at a random moment, and start it again."""
    dice = random.Random(seed)
    for _ in range(rounds):
        for who in dice.sample(["router", "a", "b", "nats"], 4):
            await asyncio.sleep(dice.uniform(0.05, 0.4))
            await cast.kill_and_restart(who)
    done.set()


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(1, 12))
@pytest.mark.timeout(150)
async def test_nothing_is_lost_and_nothing_done_twice(tmp_path, seed):
    """500 tasks while router, workers and nats-server are killed -9 and started again: see each assertion."""
    async with troupe(tmp_path) as cast:
        bus = await jetstream.connect(cast.nats.url, name="audience")
        board, live = Board(bus, "client#1"), Projector(bus, *LIVE)
        following = asyncio.create_task(live.run())
        for name, limit in LIMITS.items():
            await board.set_budget(name, limit=limit, parent=PARENTS[name], on_breach="ask")
        done = asyncio.Event()
        killing = asyncio.create_task(havoc(cast, 2, seed, done))

        async def one(number: int):
            paid = {"budget": ("team", "org")[number // 2 % 2]} if number % 2 else {}
            handle = await board.submit(f"question {number}", tags=("chaos",), priority=number % 2 * 5, **paid)
            outcome = await handle.result(100)
            if number % 3 == 0:
                await handle.evaluate(number / TASKS_SENT, source="test")
            return outcome

        asked = []
        for number in range(TASKS_SENT):
            asked.append(asyncio.create_task(one(number)))
            await asyncio.sleep(0 if done.is_set() else 0.006)
        outcomes = await asyncio.gather(*asked)
        await killing

        assert {outcome.status for outcome in outcomes} == {task.Status.COMPLETED}
        records = []
        while not records or records[-1].seq != live.seq:  # leases are settled still
            await live.reached(await bus.log.end())
            records = [record async for batch in bus.log.read_all() for record in batch]
        history = [envelope for record in records for envelope in decode(record.data)]
        _each_ends_once(history)
        _the_ledger_is_the_sum_of_the_calls(history, cast)
        audit(history, LIMITS, PARENTS)
        for projection in LIVE:
            rebuilt = fold(projection, projection.initial(), history)
            assert dump(projection, rebuilt, live.seq) == live.dump(projection), f"{projection.name} differs"
        _nothing_is_outstanding(history)
        await _every_chain_holds(bus, history)
        following.cancel()
        await bus.aclose()


def _each_ends_once(history) -> None:
    ends = Counter(e.entity for e in history if isinstance(e.event, task.Completed))
    other = [e.type for e in history if isinstance(e.event, task.DeadLettered | task.Expired | task.Cancelled)]
    assert len(ends) == TASKS_SENT
    assert set(ends.values()) == {1}
    assert other == []


def _the_ledger_is_the_sum_of_the_calls(history, cast: Troupe) -> None:
    """What the model servers wrote down is what the log has, call by call; the rest is known to be unknown."""
    calls = cast.calls()
    started = {f"{e.entity}-{e.event.call}" for e in history if isinstance(e.event, task.Started)}
    booked = {
        f"{e.entity}-{e.event.call}": e.event
        for e in history
        if isinstance(e.event, task.Completed | task.Failed | task.Spent)
    }
    cost = fold(COST, COST.initial(), history)
    unknown = {f"{key.rpartition('/')[0]}-{key.rpartition('/')[2]}" for key in cost.unknown}
    assert set(calls) <= started, "a call was made that the log does not know"
    assert booked.keys() | unknown == started
    assert not booked.keys() & unknown
    answered = {key: event for key, event in booked.items() if isinstance(event, task.Completed)}
    for key, event in answered.items():
        assert calls[key]["finished"]
        assert (event.usage.input, event.usage.output) == (calls[key]["input"], calls[key]["output"])
        assert event.cost == PRICE.cost(event.usage)
    assert cost.total.cost == sum(event.cost for event in booked.values())
    assert not cost.running


def _nothing_is_outstanding(history) -> None:
    """What was killed in the middle left nothing behind in the load."""
    load = fold(LOAD, LOAD.initial(), history)
    assert not load.where
    for one in load.backends.values():
        assert (len(one.outstanding), one.tokens, one.running, *one.waiting, *one.queued) == (0,) * 23


async def _every_chain_holds(bus, history) -> None:
    """Loading an entity checks its versions and hashes; see that all of them load, and ended."""
    tasks = Entities(bus.log, TASK, "auditor", keep=10)
    for task_id in {e.entity for e in history if e.kind == "task"}:
        assert (await tasks.load(task_id)).state.status in ENDED
