"""`callboard why`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.cli.history import Choice, Refusal


@click.command()
@click.argument("task")
@where
@as_json
def why(task: str, where: Where, as_json: bool) -> None:
    """Explain each routing decision about TASK: what was known, who could have done it, and how it turned out.

    --json prints {task, context, assignments [{time, version, attempt, backend, check, hedges, policy, reason, seen,
    seed, propensity, candidates [{backend, cost, latency, quality, excluded, cached}], predicted {cost, latency,
    tokens}, actual {cost, latency, calls [state]}, hold {budget, amount, input, output, lease}}], refusals [{time,
    version, event, reason}]}; hedges is the late call beside which another backend was asked, or null; seen is the log
    position, propensity in parts per million.
    """
    from callboard.deploy.cli.session import run

    run(_why(task, where, as_json=as_json))


async def _why(meant: str, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.history import choices, reading
    from callboard.deploy.cli.printing import clock, one_line, print_json
    from callboard.deploy.cli.session import board_at, history_of
    from callboard.events.task import Submitted

    async with board_at(where) as place:
        task_id, envelopes = await history_of(place, meant)
    made, refused = choices(envelopes)
    spec = next((envelope.event.spec for envelope in envelopes if isinstance(envelope.event, Submitted)), None)
    if as_json:
        context = spec.context if spec else None
        print_json(
            {
                "task": task_id,
                "context": context,
                "assignments": [_document(choice) for choice in made],
                "refusals": refused,
            }
        )
        return
    if told := reading(spec):
        click.echo(f"{told}\n")
    decisions: list[Choice | Refusal] = [*made, *refused]
    for decision in sorted(decisions, key=lambda decision: decision.version):
        _print(decision)
    if not made and not refused:
        last = envelopes[-1]
        click.echo(f"task {task_id}: no decision yet, {one_line(last.type)} at {clock(last.time)}")


def _predicted(choice: "Choice") -> dict[str, int]:
    chosen = choice.decision.candidates.of(choice.backend)
    return {
        "cost": chosen.cost if chosen else 0,
        "latency": chosen.latency if chosen else 0,
        "tokens": choice.tokens,
    }


def _document(choice: "Choice") -> dict[str, Any]:
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
        "predicted": _predicted(choice),
        "actual": {"cost": choice.cost, "latency": choice.latency, "calls": [call.state for call in choice.calls]},
        "hold": choice.hold,
    }


def _print(decided: "Choice | Refusal") -> None:
    from callboard.deploy.cli.history import Refusal
    from callboard.deploy.cli.printing import clock, one_line, print_table, took, usd
    from callboard.events.task import PERFECT

    if isinstance(decided, Refusal):
        click.echo(f"{clock(decided.time)} {decided.event}: {one_line(decided.reason, 300)}\n")
        return
    decision, predicted = decided.decision, _predicted(decided)
    by_lot = f", by lot ({decision.propensity / 10_000:g} %)" if decision.propensity < 1_000_000 else ""
    what = "assigned to" if decided.hedges is None else f"call {decided.hedges} hedged on"
    click.echo(
        f"{clock(decided.time)} {what} {decided.backend} by {decision.policy}{by_lot}: "
        f"{one_line(decision.reason, 200)}\n  decided on the log up to {decision.seen}"
        + (f"; the answer has to pass {decided.check}" if decided.check else "")
    )
    print_table(
        ("", "backend", "cost", "latency", "quality", "cached", "left out because"),
        (
            (
                "→" if candidate.backend == decided.backend else "",
                candidate.backend,
                usd(candidate.cost) if candidate.excluded is None else "",
                took(candidate.latency),
                f"{candidate.quality / PERFECT:.0%}" if candidate.excluded is None else "",
                f"{candidate.cached:,}" if candidate.cached else "",
                one_line(candidate.excluded or "", 160),
            )
            for candidate in decision.candidates
        ),
        right=("cost", "latency", "quality", "cached"),
    )
    if hold := decided.hold:
        lease = f"lease {hold.lease}" if hold.lease else "no lease, as it is free"
        tokens = f"at most {hold.input} tokens in and {hold.output} out"
        click.echo(f"  held {usd(hold.amount)} of budget {hold.budget} for {tokens}, from {lease}")
    click.echo(f"  predicted {usd(predicted['cost'])} and {took(predicted['latency'])}; {_actual(decided)}\n")


def _actual(choice: "Choice") -> str:
    from callboard.deploy.cli.printing import took, usd

    states: Sequence[str] = [call.state for call in choice.calls]
    if choice.latency is None:
        return "not ended: " + (", ".join(states) or "no call yet")
    return f"it was {usd(choice.cost)} and {took(choice.latency)} ({', '.join(states)})"
