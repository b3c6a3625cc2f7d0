"""`callboard tasks`."""

from functools import partial

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.option("--status", metavar="STATUS", help="Only these: a status as parked or completed, or open, or ended.")
@click.option("--tag", metavar="TAG", help="Only those with this tag.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many at most.")
@where
@as_json
def tasks(status: str | None, tag: str | None, limit: int, where: Where, as_json: bool) -> None:
    """List tasks, newest first: all open ones, and of those that have ended at least the newest 10,000.

    --json prints {counts {status: number}, tasks [{id, submitted, preview, tags, priority, status, backend, why,
    calls, cost, usage, first_token, duration, ended, parked_until, reason, score}]}; counts are of all tasks that ever
    were.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_tasks, _statuses(status), tag, limit, as_json=as_json), as_json=as_json)


async def _tasks(statuses: frozenset[str] | None, tag: str | None, limit: int, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import clock, one_line, print_json, print_table, took, usd
    from callboard.deploy.cli.session import session_at
    from callboard.projections.tasks import TASKS

    async with session_at(where) as session:
        state = session.projector.state(TASKS)
    rows = [
        row
        for row in (*state.open.values(), *state.ended.values())
        if (statuses is None or row.status in statuses) and (tag is None or tag in row.tags)
    ]
    rows.sort(key=lambda row: (row.submitted, row.id), reverse=True)
    counts = {status: number for status, number in sorted(state.counts.items()) if number}
    if as_json:
        print_json({"counts": counts, "tasks": rows[:limit]})
        return
    if rows:
        print_table(
            ("task", "submitted", "status", "backend", "took", "cost", "what"),
            (
                (
                    row.id,
                    clock(row.submitted),
                    row.status,
                    row.backend or "",
                    took(row.duration),
                    usd(row.cost) if row.cost else "",
                    one_line(f"{row.preview} ({row.reason})" if row.reason else row.preview),
                )
                for row in rows[:limit]
            ),
            right=("took", "cost"),
        )
    told = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no tasks yet"
    more = f"{min(limit, len(rows))} of {len(rows)} shown; " if len(rows) > limit else ""
    click.echo(f"{more}{told}")


def _statuses(wanted: str | None) -> frozenset[str] | None:
    from callboard.deploy.settings_values import did_you_mean
    from callboard.events.task import ENDED, OPEN

    if wanted is None:
        return None
    groups: dict[str, frozenset[str]] = {"open": OPEN, "ended": ENDED}
    groups |= {str(status): frozenset({status}) for status in sorted(OPEN | ENDED)}
    if wanted not in groups:
        guess = did_you_mean(wanted, groups)
        hint = f"did you mean {guess!r}?" if guess else f"known are {', '.join(groups)}"
        raise click.BadParameter(f"unknown status {wanted!r}; {hint}", param_hint="--status")
    return groups[wanted]
