"""Routing decisions, told for a person and as JSON: who could have, at what prices, and how it turned out."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from callboard.actors.moments import entity_at
from callboard.bus.aggregates import BACKEND
from callboard.bus.log import Bus
from callboard.deploy.cli.history import Choice, Refusal
from callboard.deploy.cli.printing import clock, one_line, print_table, took, usd
from callboard.events.money import Price
from callboard.events.task import PERFECT


async def prices_at(bus: Bus, choice: Choice) -> dict[str, Price]:
    """What each candidate cost, as far as the router knew when it decided, by the backends' own events."""
    seen, known = choice.decision.seen, choice.decision.candidates.backends
    return {name: (await entity_at(bus, BACKEND, name, seen)).entity.state.price for name in known}


def document(choice: Choice, prices: Mapping[str, Price]) -> dict[str, Any]:
    """What ``--json`` prints of a decision."""
    decision = choice.decision
    return {
        "time": choice.time,
        "version": choice.version,
        "attempt": choice.attempt,
        "backend": choice.backend,
        "check": choice.check,
        "hedges": choice.hedges,
        "policy": decision.policy,
        "reason": decision.reason,
        "seen": decision.seen,
        "seed": decision.seed,
        "propensity": decision.propensity,
        "candidates": [*decision.candidates],
        "prices": prices,
        "predicted": _predicted(choice),
        "actual": {"cost": choice.cost, "latency": choice.latency, "calls": [call.state for call in choice.calls]},
        "hold": choice.hold,
    }


def show(decided: Choice | Refusal, prices: Mapping[str, Price]) -> None:
    """Print a decision."""
    if isinstance(decided, Refusal):
        click.echo(f"{clock(decided.time)} {decided.event}: {one_line(decided.reason, 300)}\n")
        return
    decision, predicted = decided.decision, _predicted(decided)
    by_lot = f", by lot ({decision.propensity / 10_000:g} %)" if decision.propensity < 1_000_000 else ""
    what = "assigned to" if decided.hedges is None else f"call {decided.hedges} hedged on"
    seed = f" with seed {decision.seed}" if decision.seed else ""
    click.echo(
        f"{clock(decided.time)} {what} {decided.backend} by {decision.policy}{by_lot}: "
        f"{one_line(decision.reason, 200)}\n  decided on the log up to {decision.seen}{seed}"
        + (f"; the answer has to pass {decided.check}" if decided.check else "")
    )
    print_table(
        ("", "backend", "cost", "latency", "quality", "cached", "in / out, a million", "left out because"),
        (
            (
                "→" if candidate.backend == decided.backend else "",
                candidate.backend,
                usd(candidate.cost) if candidate.excluded is None else "",
                took(candidate.latency),
                f"{candidate.quality / PERFECT:.0%}" if candidate.excluded is None else "",
                f"{candidate.cached:,}" if candidate.cached else "",
                _price(prices.get(candidate.backend)),
                one_line(candidate.excluded or "", 160),
            )
            for candidate in decision.candidates
        ),
        right=("cost", "latency", "quality", "cached", "in / out, a million"),
    )
    if hold := decided.hold:
        lease = f"lease {hold.lease}" if hold.lease else "no lease, as it is free"
        tokens = f"at most {hold.input} tokens in and {hold.output} out"
        click.echo(f"  held {usd(hold.amount)} of budget {hold.budget} for {tokens}, from {lease}")
    click.echo(f"  predicted {usd(predicted['cost'])} and {took(predicted['latency'])}; {_actual(decided)}\n")


def _price(price: Price | None) -> str:
    return f"{usd(price.input)} / {usd(price.output)}" if price else ""


def _predicted(choice: Choice) -> dict[str, int]:
    chosen = choice.decision.candidates.of(choice.backend)
    return {
        "cost": chosen.cost if chosen else 0,
        "latency": chosen.latency if chosen else 0,
        "tokens": choice.tokens,
    }


def _actual(choice: Choice) -> str:
    states: Sequence[str] = [call.state for call in choice.calls]
    if choice.latency is None:
        return "not ended: " + (", ".join(states) or "no call yet")
    return f"it was {usd(choice.cost)} and {took(choice.latency)} ({', '.join(states)})"
