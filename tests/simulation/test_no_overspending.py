"""Hundreds of tasks, four routers, one tree of budgets: whatever is killed and whenever, no money is spent twice.

Real routers and workers over the bus in memory; writes are interleaved at random, answers get lost, processes die
before and after writes and are replaced. An auditor then reads the log, message by message, and the models' own ledger.
"""

import asyncio
import random
from collections import Counter

import pytest
from servers.budget_auditor import audit
from servers.unreliable_bus import unreliable

from callboard.actors.backend.providers.provider import Answer
from callboard.actors.backend.worker import Worker
from callboard.actors.board import Board
from callboard.actors.projector import Projector
from callboard.actors.router import escrow, money, router, treasurer
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.router.router import Router
from callboard.bus.entities import BACKEND, TASK, Entities
from callboard.bus.memory import MemoryBus
from callboard.deploy.supervision import supervise
from callboard.events import task
from callboard.events.backend import BackendSpec, Priced, Registered, Scaled
from callboard.events.chat import Usage
from callboard.events.envelope import decode
from callboard.events.money import Price
from callboard.events.task import Status
from callboard.projections.budgets import BUDGETS
from callboard.projections.live import LIVE
from callboard.projections.projection import dump, fold
from callboard.projections.tasks import TASKS

ROUTERS, WORKERS = 4, 2
PRICE = Price(input=1_000_000, output=2_000_000)
LIMITS = {"org": 120, "team": 85, "crew": 60}
"""For each task."""
PARENTS = {"org": None, "team": "org", "crew": "org"}


class Gambler:
    """A model that takes any part of what it may, often all of it, and writes down what it was paid for."""

    def __init__(self, dice: random.Random, ledger: Counter) -> None:
        self._dice = dice
        self._ledger = ledger

    async def stream(self, request):
        for _ in range(self._dice.randrange(3)):
            await asyncio.sleep(0)
        most = sum(len(message.content.encode()) + 16 for message in request.messages) + 64
        part = self._dice.choice([0.0, self._dice.random(), 1.0])
        usage = Usage(round(most * part), round(request.max_tokens * part))
        self._ledger[request.call_id] = PRICE.cost(usage)
        yield Answer("x", usage, "stop", "gambler")

    async def aclose(self) -> None:
        """Nothing is held open."""


class Theatre:
    """Processes that are replaced when they die."""

    def __init__(self, seed: int, **faults: float) -> None:
        self.bus = MemoryBus()
        self.dice = random.Random(seed)
        self.ledger: Counter = Counter()
        self.killed = 0
        self._faults = faults
        self._processes: list[asyncio.Task] = []

    def play(self, make) -> None:
        self._processes.append(asyncio.create_task(self._keep(make)))

    async def _keep(self, make) -> None:
        while True:
            bus = unreliable(self.bus, self.dice, **self._faults)
            projector = Projector(bus, *LIVE)
            running = []
            try:
                await projector.catch_up()
                actor = make(bus, projector)
                running = [asyncio.create_task(supervise("actor", run)) for run in (projector.run, actor.run)]
                await bus.log.killed.wait()
            finally:
                for each in running:
                    each.cancel()
                await asyncio.gather(*running, return_exceptions=True)
                await bus.aclose()
            self.killed += 1

    def heal(self) -> None:
        """From now on new processes live on."""
        self._faults = {}

    async def stop(self) -> None:
        for each in self._processes:
            each.cancel()
        await asyncio.gather(*self._processes, return_exceptions=True)
        await self.bus.aclose()

    def router(self, bus, projector) -> Router:
        name = f"router#{self.dice.getrandbits(64):x}"
        return Router(bus, Entities(bus.log, TASK, name), projector, Rules(policies(), default="cheapest"))

    def worker(self, bus, projector) -> Worker:
        name = f"backend/a/{self.dice.getrandbits(64):x}"
        tasks, backends = Entities(bus.log, TASK, name), Entities(bus.log, BACKEND, name)
        return Worker(bus, "a", name, Gambler(self.dice, self.ledger), tasks, backends, projector)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Time runs faster: what is told by silence is told within the test."""
    monkeypatch.setattr(escrow, "LEASE_S", 0.4)
    monkeypatch.setattr(treasurer, "GONE_S", 0.2)
    monkeypatch.setattr(treasurer, "IDLE_S", 0.1)
    monkeypatch.setattr(treasurer, "OTHERS_IDLE_S", 0.05)
    monkeypatch.setattr(treasurer, "SETTLE_S", 0.1)
    monkeypatch.setattr(money, "TICK_S", 0.05)
    monkeypatch.setattr(router, "ACK_WAIT_S", 0.3)
    monkeypatch.setattr("callboard.actors.backend.worker.ACK_WAIT_S", 0.3)
    monkeypatch.setattr("callboard.actors.backend.ending.RESULT_TIMEOUT_S", 1.0)
    monkeypatch.setattr("callboard.actors.loop.BUS_RETRY_S", 0.01)
    monkeypatch.setattr("callboard.deploy.supervision.PAUSES_S", (0.01,))


@pytest.mark.parametrize(
    ("seed", "sent", "doubt", "stall", "death"),
    [
        (1, 400, 0.0, 0.0, 0.0),
        (5, 400, 2.0, 1.0, 0.2),
        *(
            pytest.param(*each, marks=pytest.mark.chaos)
            for each in (
                (1, 1000, 0.0, 0.0, 0.0),
                (2, 1000, 2.0, 0.0, 0.0),
                (3, 1000, 0.0, 2.0, 0.0),
                (4, 1000, 0.0, 0.0, 0.3),
                (5, 1000, 2.0, 1.0, 0.2),
            )
        ),
    ],
)
async def test_tasks_never_cost_more_than_there_is(seed, sent, doubt, stall, death):
    """See each assertion; at the end all money is spent, back, or held for calls whose end nobody saw."""
    limits = {name: sent * each for name, each in LIMITS.items()}
    theatre = Theatre(seed, doubt=doubt, stall=stall, death=death)
    board = Board(theatre.bus.join(), "client")
    backends = Entities(theatre.bus.log, BACKEND, "setup")
    spec = BackendSpec("callable", "gambler", concurrency=32)
    await backends.tell("a", lambda _: [Registered(spec), Priced(PRICE), Scaled(WORKERS)])
    for name, limit in limits.items():
        await board.set_budget(name, limit=limit, parent=PARENTS[name], on_breach="ask")
    for _ in range(ROUTERS):
        theatre.play(theatre.router)
    for _ in range(WORKERS):
        theatre.play(theatre.worker)
    try:
        dice = random.Random(seed)
        for _ in range(sent):
            text = "x" * dice.randrange(200)
            name = dice.choice(("team", "crew"))
            await board.submit(text or "x", budget=name, max_tokens=dice.randrange(1, 200), reply_to="nobody")
        at_rest = await _at_rest(theatre)
    finally:
        await theatre.stop()
    history = [e for record in theatre.bus._server.stream.between(0, 10**9) for e in decode(record.data)]
    audit(history, limits, PARENTS)
    _the_models_were_paid_from_budgets(history, theatre.ledger, limits)
    _what_is_left_is_explained(at_rest, limits)
    assert death == 0 or theatre.killed > ROUTERS
    rebuilt = fold(BUDGETS, BUDGETS.initial(), history)
    half = fold(BUDGETS, BUDGETS.initial(), history[: len(history) // 2])
    assert dump(BUDGETS, fold(BUDGETS, half, history[len(history) // 2 :]), 1) == dump(BUDGETS, rebuilt, 1)


async def _at_rest(theatre):
    """The budgets when every task has ended or waits for a higher limit, and no lease has calls or idle money."""
    bus = theatre.bus.join()
    projector = Projector(bus, *LIVE)
    await projector.catch_up()
    following = asyncio.create_task(projector.run())
    began = asyncio.get_running_loop().time()
    while True:
        if asyncio.get_running_loop().time() - began > 8:
            theatre.heal()
        await projector.reached(await bus.log.end())
        state = projector.state(BUDGETS)
        rows = projector.state(TASKS).open.values()
        waits = all(row.status is Status.PARKED and row.id in state.waiting for row in rows)
        told = all(each.sealed and not each.calls and _known(state, key) for key, each in state.leases.items())
        if waits and told and all(each.breach for each in state.waiting.values()):
            following.cancel()
            return state
        await asyncio.sleep(0.05)


def _known(state, key: str) -> bool:
    lease = state.leases[key]
    levels = PARENTS[lease.budget], lease.budget
    holds = [state.by_id[level].holds.get(key) for level in levels if level]
    return all(held and (held.amount, held.settled) == (lease.unknown, lease.realised) for held in holds)


def _the_models_were_paid_from_budgets(history, ledger: Counter, limits) -> None:
    """No call was made that the log does not know, and the models' own sums are within the limits too."""
    budgets = {e.entity: e.event.spec.budget for e in history if isinstance(e.event, task.Submitted)}
    started = {f"{e.entity}-{e.event.call}" for e in history if isinstance(e.event, task.Started)}
    paid = Counter()
    for call_id, cost in ledger.items():
        assert call_id in started
        paid[budgets[call_id.rpartition("-")[0]]] += cost
    assert paid["team"] <= limits["team"]
    assert paid["crew"] <= limits["crew"]
    assert paid["team"] + paid["crew"] <= limits["org"]


def _what_is_left_is_explained(state, limits) -> None:
    """Nobody waits who could be paid, nothing is held but for untold calls, and leaves add up to the root."""
    unknown = Counter()
    for lease in state.leases.values():
        unknown[lease.budget] += lease.unknown
    for wait in state.waiting.values():
        assert min(state.by_id[level].left for level in (wait.budget, "org")) < wait.needed
    team, crew, org = (state.by_id[name] for name in ("team", "crew", "org"))
    assert (team.held, crew.held, org.held) == (unknown["team"], unknown["crew"], unknown["team"] + unknown["crew"])
    assert org.settled == team.settled + crew.settled
    assert org.settled + org.held > limits["org"] * 0.9, "most of the money could be used"
