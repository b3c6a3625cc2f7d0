"""`callboard split`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.splitting import Split
    from callboard.events.shards import Shards


@click.command()
@click.option("--keep", metavar="SHARDS", required=True, help="What stays here, of the shards 0 to 63: as 0-31.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@where
@as_json
def split(keep: str, yes: bool, where: Where, as_json: bool) -> None:
    """Keep tasks, agents, contexts, approvals and schedules of some shards here, and take the others out of the log.

    The others go on where a backup of this log was restored, and is split to keep those. So stop all nodes, make the
    backup and restore it, then split both; see "Several logs" in OPERATIONS.md. It can't be undone, but by that backup.

    What is left of each budget is divided by how many shards each log keeps: together they can't spend more than
    before. An archive is completed first, so that it has all that there was. If this dies half-way, run it again.

    --json prints {shards, messages, submissions, budgets, timers}, and needs --yes.
    """
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import run
    from callboard.events.shards import Shards

    if as_json and not yes:
        raise click.UsageError("--json does not ask: add --yes, or leave it out")
    done = run(_split(where, Shards.parse(keep), _folder(where), yes=yes))
    if as_json:
        print_json(done._asdict() | {"shards": str(done.shards)})
    elif not done.messages and not done.budgets:
        click.echo(f"this log holds the shards {done.shards}, and nothing else")
    else:
        click.echo(
            f"this log holds the shards {done.shards} now: {done.messages:,} messages and {done.submissions:,} waiting "
            f"submissions of others are gone, {done.budgets:,} budgets have their share, and the timers of "
            f"{done.timers:,} tasks, approvals, schedules and agents are set"
        )


async def _split(where: Where, keep: "Shards", archive: Path | None, *, yes: bool) -> "Split":
    from callboard.deploy.cli.printing import working
    from callboard.deploy.connect import bus_to_split
    from callboard.deploy.splitting import check, split

    url, data = where.address()
    async with bus_to_split(url, data=data, archive=archive, nats=where.settings().nats) as bus:
        with working("Looking through the log"):
            await check(bus, keep)
        if not yes and keep != bus.shards:
            click.confirm(f"Take all but the shards {keep} out of this log, for good?", abort=True)
        with working("Splitting"):
            return await split(bus, keep)


def _folder(where: Where) -> Path | None:
    """Where the log's archive lies, if it has one."""
    folder = where.settings().archive_folder
    return folder if folder.is_dir() else None
