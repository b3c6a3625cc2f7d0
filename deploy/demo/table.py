"""How the demo looks: a live table of tasks while it runs, and the summary at its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from callboard.deploy.cli.printing import one_line, print_table, took, usd
from callboard.deploy.demo.summary import Result, Summary
from callboard.projections.tasks import TaskRow

ROWS = 18
COLUMNS = {
    "task": 8,
    "kind": 11,
    "backend": 12,
    "why": 20,
    "tokens": 7,
    "cost": 9,
    "time": 7,
    "verdict": 7,
    "answer": 12,
}
"""Names and least widths; what is left of the terminal goes to the long ones."""

MARKS = {True: "right", False: "wrong", None: ""}

Told = Callable[[str, Result], None]


@contextmanager
def live(total: int, row_of: Callable[[str], TaskRow | None], *, quiet: bool) -> Iterator[Told]:
    """Yields who is to be told of each ended task: a table on a terminal, a line each elsewhere, nothing if quiet."""
    console = Console(highlight=False, markup=False, emoji=False)
    done: list[tuple[str, Result]] = []

    if quiet or not console.is_terminal:

        def tell(task_id: str, result: Result) -> None:
            done.append((task_id, result))
            if not quiet:
                click.echo("  ".join((f"{len(done):>2}/{total}", *_cells(task_id, result, row_of(task_id)))))

        yield tell
        return
    with Live(_table(done, total, row_of), console=console, refresh_per_second=8) as shown:

        def update(task_id: str, result: Result) -> None:
            done.append((task_id, result))
            shown.update(_table(done, total, row_of))

        yield update


def print_summary(summary: Summary) -> None:
    """The figures, for people."""
    click.echo()
    numbers = ("tasks", "tokens in", "cached", "out", "cost", "median call", "longest", "right")
    print_table(
        ("backend", "kind", *numbers),
        (
            (
                share.backend,
                "callable (not a model)" if share.callable else f"model, {share.provider} API",
                str(share.tasks),
                f"{share.input:,}",
                f"{share.cached:,}",
                f"{share.output:,}",
                usd(share.cost),
                took(share.median_duration),
                took(share.longest_duration),
                f"{share.correct} of {share.checked}",
            )
            for share in summary.backends
        ),
        right=numbers,
    )
    click.echo(
        f"\n{summary.completed} of {summary.submitted} tasks completed in {took(summary.duration)} for "
        f"{usd(summary.cost)}; {summary.correct} of {summary.checked} checked answers right; "
        f"{summary.calls} model calls, {usd(summary.wasted)} wasted, {summary.dead_letters} dead letters"
    )
    if big := summary.all_to_big:
        click.echo(
            f"All to {big.backend}, estimated from its own speed and price: {took(big.duration)} and {usd(big.cost)}"
        )
    click.echo("Prices are the demo's own list (what hosted models of such sizes cost); the models ran here for free.")


def _table(done: list[tuple[str, Result]], total: int, row_of: Callable[[str], TaskRow | None]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=f"{len(done)} of {total} tasks", title_justify="left")
    for name, least in COLUMNS.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=least)
    for task_id, result in done[-ROWS:]:
        table.add_row(*_cells(task_id, result, row_of(task_id)))
    return table


def _cells(task_id: str, result: Result, row: TaskRow | None) -> tuple[str, ...]:
    outcome = result.outcome
    return (
        task_id[-8:],
        f"{result.kind:<11}",
        outcome.backend or outcome.status,
        one_line(row.why if row else "", 60),
        f"{outcome.usage.input}+{outcome.usage.output}",
        usd(outcome.cost),
        took(outcome.duration),
        MARKS[result.correct],
        one_line(str(outcome.output or outcome.reason), 40),
    )
