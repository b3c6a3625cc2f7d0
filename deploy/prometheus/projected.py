"""Metrics that are read off the projections every node has; a scrape costs what there are of backends and budgets."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from callboard.actors.projector import Projector
from callboard.deploy.prometheus import families
from callboard.events.backend import Breaker
from callboard.events.budget import Budget
from callboard.events.money import MICROS_PER_USD
from callboard.events.task import Status
from callboard.projections.backends import BACKENDS
from callboard.projections.bill import PPM
from callboard.projections.budgets import BUDGETS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD, BackendLoad
from callboard.projections.tasks import TASKS

MOST_BUDGETS: Final = 100
"""So many are shown, those that are part of no other first: anybody may make budgets, and each is five series."""

_IDLE: Final = BackendLoad()


def projected(projector: Projector) -> Iterator[Metric]:
    """All of them, as of now."""
    sequence, broken = families.PROJECTION_SEQ.gauge(), families.BROKEN.gauge()
    sequence.add_metric((), projector.seq)
    broken.add_metric((), len(projector.broken))
    yield from (sequence, broken)
    tasks, counts = families.TASKS.gauge(), projector.state(TASKS).counts
    for status in Status:
        if status is not Status.NEW:
            tasks.add_metric((status,), counts.get(status, 0))
    yield tasks
    yield from _backends(projector)
    yield from _ledger(projector)
    yield from _budgets(projector)


def _backends(projector: Projector) -> Iterator[Metric]:
    waiting, running = families.WAITING.gauge(), families.RUNNING.gauge()
    outstanding, reliability = families.OUTSTANDING.gauge(), families.RELIABILITY.gauge()
    replicas, draining = families.REPLICAS.gauge(), families.DRAINING.gauge()
    breaker, info = families.BREAKER.gauge(), families.BACKEND.gauge()
    loads = projector.state(LOAD).backends
    for name, backend in sorted(projector.state(BACKENDS).by_id.items()):
        load, by = loads.get(name, _IDLE), (name,)
        waiting.add_metric(by, load.line[0])
        running.add_metric(by, len(load.outstanding) - load.line[0])
        outstanding.add_metric(by, load.tokens)
        reliability.add_metric(by, load.reliability / PPM)
        replicas.add_metric(by, backend.replicas)
        draining.add_metric(by, backend.draining)
        for state in Breaker:
            breaker.add_metric((name, state), backend.breaker is state)
        if backend.spec:
            info.add_metric((name, backend.spec.provider, backend.spec.model), 1)
    yield from (waiting, running, outstanding, reliability, replicas, draining, breaker, info)


def _ledger(projector: Projector) -> Iterator[Metric]:
    calls, tokens = families.CALLS.counter(), families.TOKENS.counter()
    cost, wasted, unknown = families.COST.counter(), families.WASTED.gauge(), families.UNKNOWN.gauge()
    ledger = projector.state(COST)
    for name, line in sorted(ledger.by_backend.items()):
        calls.add_metric((name,), line.calls)
        tokens.add_metric((name, "input"), line.usage.input)
        tokens.add_metric((name, "cached_input"), line.usage.cached)
        tokens.add_metric((name, "output"), line.usage.output)
        cost.add_metric((name,), _usd(line.cost))
        wasted.add_metric((name,), _usd(line.wasted))
    unknown.add_metric((), len(ledger.unknown))
    yield from (calls, tokens, cost, wasted, unknown)


def _budgets(projector: Projector) -> Iterator[Metric]:
    limit, spent, held = families.LIMIT.gauge(), families.SPENT.gauge(), families.HELD.gauge()
    left, breached, left_out = families.LEFT.gauge(), families.BREACHED.gauge(), families.LEFT_OUT.gauge()
    budgets = sorted(projector.state(BUDGETS).by_id.values(), key=_rank)
    for budget in budgets[:MOST_BUDGETS]:
        of = (budget.id,)
        limit.add_metric(of, _usd(budget.limit))
        spent.add_metric(of, _usd(budget.settled))
        held.add_metric(of, _usd(budget.held))
        left.add_metric(of, _usd(budget.left))
        breached.add_metric(of, budget.breached)
    left_out.add_metric((), max(len(budgets) - MOST_BUDGETS, 0))
    yield from (limit, spent, held, left, breached, left_out)


def _rank(budget: Budget) -> tuple[bool, str]:
    return budget.parent is not None, budget.id


def _usd(micros: int) -> float:
    return micros / MICROS_PER_USD
