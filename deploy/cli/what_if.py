"""`callboard replay --what-if`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from callboard.deploy.cli.options import Where

if TYPE_CHECKING:
    from callboard.actors.replay.estimates import Interval
    from callboard.actors.replay.report import Metric, Report
    from callboard.actors.router.route import Rules
    from callboard.deploy.connect import Place

HERE: Final = Where()
"""The settings file of the working directory."""

BY: Final = ("ips", "snips", "dr")
"""The estimators: the last one is the answer."""


async def what_if(
    place: "Place", given: Sequence[str], where: Where = HERE, *, until: int | None = None, as_json: bool
) -> None:
    """Print what would have been with the changes given, each a world of its own (``KEY=VALUE,…``).

    ``until`` is the log sequence up to which; None for all of the log. Settings are those that ``where`` says.
    Raises InvalidInput for changes that can't be read, or name what is not there.
    """
    from msgspec.structs import replace

    from callboard.actors.replay.what_if import what_ifs
    from callboard.deploy.cli.printing import print_json, whole, working
    from callboard.deploy.cli.what_if_text import changes
    from callboard.deploy.routing import rules_of, unloaded

    asked, settings = [changes(each) for each in given], where.settings()
    checks = unloaded(settings)

    def rules_at(pace: int | None) -> "Rules":
        router = settings.router if pace is None else replace(settings.router, pace_micros_per_task=pace)
        return rules_of(replace(settings, router=router), checks)

    with working("Making the decisions again"):
        found = await what_ifs(place.bus.log, asked, rules_at, upto=until)
    if as_json:
        print_json([{"what_if": text, **whole(report)} for text, report in zip(given, found, strict=True)])
        return
    _print_faithful(found[0])
    for text, report in zip(given, found, strict=True):
        _print(text, report)
    for note in dict.fromkeys(note for report in found for note in report.notes):
        click.echo(f"Note: {note}")


def _print(asked: str, report: "Report") -> None:
    from callboard.deploy.cli.printing import print_table

    told = f"What if {asked}: {report.elsewhere:,} of {report.decisions:,} decisions would have gone elsewhere"
    click.echo(f"{told}\n")
    print_table(
        ("from", "to", "decisions"),
        ((one.before, one.after or "nobody", f"{one.decisions:,}") for one in report.moved),
        right=("decisions",),
    )
    if report.freed:
        click.echo(f"{report.freed:,} tasks would have been placed that waited, were refused or given up\n")
    _print_budgets(report)
    left_out = f"{report.open:,} still open and {report.unplaced:,} nobody would have got are left out"
    click.echo(f"Estimates from {report.units:,} tasks ({left_out}), with 95 % intervals:\n")
    print_table(
        ("", "observed", "would be", "difference"),
        map(_row, report.metrics),
        right=("observed", "would be", "difference"),
    )
    columns = ("", *BY, "known", "worth", "largest weight", "without support")
    print_table(columns, map(_details, report.metrics), right=columns[1:])
    for one in report.metrics:
        if one.silent:
            click.echo(f"{one.name}: the data cannot support an answer: {one.silent}")
    click.echo()


def _print_faithful(report: "Report") -> None:
    found = report.faithful
    share = f" ({found.identical / found.decisions:.1%})" if found.decisions else ""
    told = f"{found.identical:,} of {found.decisions:,} decisions are identical{share}"
    click.echo(f"The same rules again, on the log up to {report.upto}: {told}, {found.same:,} go to the same backend")
    for reason, count in found.reasons.items():
        click.echo(f"  {count:,}: {reason}")
    if found.lost:
        click.echo(f"  {found.lost:,} can't be made again: the log no longer has what they were made on")
    if found.refusals:
        click.echo(f"  {found.alike:,} of {found.refusals:,} that waited or were refused would again")
    click.echo()


def _print_budgets(report: "Report") -> None:
    from callboard.deploy.cli.printing import usd

    for name, spent in report.spent.items():
        told = (
            ("stopped", "stopped"),
            ("asked", "waiting for somebody to raise it"),
            ("waited", "waiting for money held for others"),
            ("degraded", "given to a cheaper backend"),
        )
        did = [f"{report.budgets[key]:,} tasks {text}" for key, text in told if report.budgets.get(key)]
        click.echo(f"Budget {name} would have spent {usd(spent)}: {', '.join(did) or 'its limit is not reached'}\n")


def _row(one: "Metric") -> tuple[str, ...]:
    return (
        one.name,
        "" if one.observed is None else _shown(one.name, one.observed),
        _interval(one.name, one.answer.value) if one.answer else "no answer",
        _interval(one.name, one.answer.difference, signed=True) if one.answer else "",
    )


def _details(one: "Metric") -> tuple[str, ...]:
    """By each estimator, and how far the log supports them."""
    shown, support = one.estimates if one.answer else (), one.support
    by_name = {each.estimator: each.value for each in shown}
    return (
        one.name,
        *(_interval(one.name, by_name[name]) if name in by_name else "" for name in BY),
        f"{support.known:,} of {support.units:,}",
        f"{support.effective:,.0f}",
        f"{support.largest:.1f}",
        f"{support.unsupported:.1%}",
    )


def _interval(name: str, found: "Interval", *, signed: bool = False) -> str:
    ends = (_shown(name, end, signed=signed) for end in (found.low, found.high))
    return f"{_shown(name, found.value, signed=signed)} ({' to '.join(ends)})"


def _shown(name: str, value: float, *, signed: bool = False) -> str:
    """A figure for people: quality in percent, money in USD, time in ms or s."""
    plus = "+" if signed and value > 0 else "-" if value < 0 else ""
    size = abs(value)
    if name == "quality":
        return f"{plus}{size:.1%}"
    if name == "cost":
        digits = 2 if size >= 1e6 else 4 if size >= 1e4 else 6
        return f"{plus}${size / 1e6:.{digits}f}"
    return f"{plus}{size / 1e9:.2f} s" if size >= 1e9 else f"{plus}{size / 1e6:.0f} ms"
