"""`callboard budget`."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import click

from callboard.deploy.cli.options import Where, as_json, usd, where
from callboard.deploy.cli.subcommands import Subcommands
from callboard.events.budget import OnBreach

if TYPE_CHECKING:
    from callboard.events.budget import Budget
    from callboard.projections.budgets import Lease


@click.group(cls=Subcommands, default="show")
def budget() -> None:
    """Set and show budgets: money that tasks are paid from, and never more than there is."""


@budget.command("set")
@click.argument("name")
@click.option("--limit", metavar="USD", callback=usd, help="The most that may be spent, all in all, as 5usd.")
@click.option("--parent", metavar="NAME", help='The budget that this is part of; "" for none.')
@click.option("--on-breach", type=click.Choice(get_args(OnBreach)), help="What becomes of a task that does not fit.")
@where
@as_json
def budget_set(
    name: str, limit: int | None, parent: str | None, on_breach: OnBreach | None, where: Where, as_json: bool
) -> None:
    """Make the budget NAME, or change it; what is not given stays as it is.

    A task that does not fit is stopped (a dead letter), degraded to a backend that fits, or waits and asks, until the
    limit is raised.

    --json prints {budget, limit, settled, held, left, parent, on_breach, breached, leases [{lease, owner, amount,
    realised, outstanding, unknown, calls, sealed, until}]}.
    """
    from callboard.deploy.cli.session import run

    run(_set(name, limit, parent, on_breach, where, as_json=as_json))


@budget.command("show")
@click.argument("name", required=False)
@where
@as_json
def budget_show(name: str | None, where: Where, as_json: bool) -> None:
    """Show NAME and what is part of it, or all budgets: what is spent, held for calls and left.

    --json prints a list of what `callboard budget set` prints one of.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_show, name, as_json=as_json), as_json=as_json)


@budget.command("spent")
@click.argument("task")
@click.argument("call", type=click.IntRange(1))
@click.argument("cost", metavar="USD", callback=usd)
@where
@as_json
def budget_spent(task: str, call: int, cost: int, where: Where, as_json: bool) -> None:
    """Say what CALL of TASK cost, as 0.002usd, when nobody saw its end; the money that is held for it comes back.

    --json prints {task, cost, unsettled [call]}.
    """
    from callboard.deploy.cli.session import run

    run(_spent(task, call, cost, where, as_json=as_json))


async def _set(
    name: str, limit: int | None, parent: str | None, on_breach: OnBreach | None, where: Where, *, as_json: bool
) -> None:
    from callboard.deploy.cli.cells import in_one
    from callboard.deploy.cli.printing import print_json, usd, warn
    from callboard.deploy.cli.session import board_at

    async with board_at(in_one(where)) as place:
        after = await place.board.set_budget(name, limit=limit, parent=parent, on_breach=on_breach)
    if after.settled + after.held > after.limit:
        more = usd(after.settled + after.held - after.limit)
        warn(
            f"budget {name} has spent and held {more} more than this limit: nothing is paid from it until it is raised"
        )
    if as_json:
        print_json(_document(after, {}))
    else:
        part = f", part of {after.parent}" if after.parent else ""
        told = f"{usd(after.limit)}, of which {usd(after.left)} are left{part}; on breach: {after.on_breach}"
        click.echo(f"budget {name}: {told}")


async def _show(name: str | None, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json, print_table, usd
    from callboard.deploy.cli.session import session_at
    from callboard.deploy.settings_values import did_you_mean
    from callboard.events.errors import InvalidInput
    from callboard.projections.budgets import BUDGETS

    async with session_at(where) as session:
        state = session.projector.state(BUDGETS)
    if name is not None and name not in state.by_id:
        guess = did_you_mean(name, state.by_id)
        known = ", ".join(sorted(state.by_id)) or "none"
        raise InvalidInput(f"unknown budget {name!r}; " + (f"did you mean {guess!r}?" if guess else f"known: {known}"))
    rows = list(_tree(state.by_id, name))
    if as_json:
        print_json([_document(each, state.leases) for _, each in rows])
    elif rows:
        numbers = ("limit", "spent", "held", "left")
        print_table(
            ("budget", *numbers, "on breach", ""),
            (
                (
                    "  " * depth + each.id,
                    usd(each.limit),
                    usd(each.settled),
                    usd(each.held),
                    usd(each.limit - each.settled - each.held),
                    each.on_breach,
                    "breached" if each.breached else "",
                )
                for depth, each in rows
            ),
            right=numbers,
        )
    else:
        click.echo("no budgets: callboard budget set NAME --limit 5usd makes one")


async def _spent(meant: str, call: int, cost: int, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json, usd
    from callboard.deploy.cli.session import task_at

    async with task_at(where, meant) as (place, found):
        after = await place.board.tell_cost(found, call, cost)
    if as_json:
        print_json({"task": after.id, "cost": after.cost, "unsettled": after.unsettled})
    else:
        click.echo(f"call {call} of task {after.id} cost {usd(cost)}")


def _tree(budgets: Mapping[str, "Budget"], root: str | None) -> Iterator[tuple[int, "Budget"]]:
    """Budgets with their depth, each before what is part of it; each once, should there be a cycle."""
    seen: set[str] = set()

    def walk(names: Iterable[str], depth: int) -> Iterator[tuple[int, "Budget"]]:
        for name in sorted(set(names) - seen):
            seen.add(name)
            yield depth, budgets[name]
            yield from walk((each.id for each in budgets.values() if each.parent == name), depth + 1)

    if root is not None:
        yield from walk([root], 0)
        return
    yield from walk((each.id for each in budgets.values() if each.parent not in budgets), 0)
    yield from walk(budgets, 0)


def _document(budget: "Budget", leases: Mapping[str, "Lease"]) -> dict[str, Any]:
    return {
        "budget": budget.id,
        "limit": budget.limit,
        "settled": budget.settled,
        "held": budget.held,
        "left": budget.limit - budget.settled - budget.held,
        "parent": budget.parent,
        "on_breach": budget.on_breach,
        "breached": budget.breached,
        "leases": [
            {
                "lease": lease_id,
                "owner": lease.owner,
                "amount": lease.amount,
                "realised": lease.realised,
                "outstanding": lease.outstanding,
                "unknown": lease.unknown,
                "calls": lease.calls,
                "sealed": lease.sealed,
                "until": lease.until,
            }
            for lease_id, lease in leases.items()
            if lease.budget == budget.id
        ],
    }
