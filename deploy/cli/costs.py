"""`callboard costs`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.projections.cost import Line


@click.command()
@click.option("--by", type=click.Choice(("backend", "tag", "day")), default="backend", show_default=True)
@where
@as_json
def costs(by: str, where: Where, as_json: bool) -> None:
    """Print what was spent: calls, tokens, money, and how much of it bought no answer that was used.

    A task with several tags counts for each of them. Unknown are calls whose end nobody has told yet: their cost is in
    no sum.

    --json prints {by, lines [{key, calls, input, output, cached, cost, wasted}], total {…}, unknown {backend: calls}}.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_costs, by, as_json=as_json), as_json=as_json)


async def _costs(by: str, where: Where, *, as_json: bool) -> None:
    from collections import Counter

    from callboard.deploy.cli.printing import one_line, print_json, print_table, usd
    from callboard.deploy.cli.session import session_at
    from callboard.projections.cost import COST

    async with session_at(where) as session:
        state = session.projector.state(COST)
    lines = {"backend": state.by_backend, "tag": state.by_tag, "day": state.by_day}[by]
    unknown = dict(sorted(Counter(state.unknown.values()).items()))
    if as_json:
        shown = [{"key": key} | _amounts(line) for key, line in sorted(lines.items())]
        print_json({"by": by, "lines": shown, "total": _amounts(state.total), "unknown": unknown})
        return
    numbers = ("calls", "tokens in", "cached", "tokens out", "cost", "wasted")
    print_table(
        (by, *numbers),
        (
            (
                one_line(key),
                f"{line.calls:,}",
                f"{line.usage.input:,}",
                f"{line.usage.cached:,}",
                f"{line.usage.output:,}",
                usd(line.cost),
                usd(line.wasted),
            )
            for key, line in [*sorted(lines.items()), ("all", state.total)]
        ),
        right=numbers,
    )
    if unknown:
        told = ", ".join(f"{number} of {backend}" for backend, number in unknown.items())
        click.echo(f"unknown: {told}: calls whose end nobody has told yet, in no sum above")


def _amounts(line: "Line") -> dict[str, Any]:
    usage = line.usage
    return {
        "calls": line.calls,
        "input": usage.input,
        "output": usage.output,
        "cached": usage.cached,
        "cost": line.cost,
        "wasted": line.wasted,
    }
