"""`callboard archive`."""

from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from pathlib import Path

    from callboard.actors.purger import Purged
    from callboard.bus.archive.archived_log import ArchivedLog
    from callboard.bus.archive.manifest import Manifest
    from callboard.deploy.connect import Place


@click.command()
@click.option("--purge", is_flag=True, help="Then take out of the log what is closed, archived and old enough.")
@click.option("--keep", metavar="TIME", help="With --purge: keep what is younger, as 30d.  [default: as configured]")
@click.option(
    "--verify", is_flag=True, help="Archive nothing: read the whole archive and compare it with its manifests."
)
@where
@as_json
def archive(purge: bool, keep: str | None, verify: bool, where: Where, as_json: bool) -> None:
    """Archive what is in the log by now, and say what the archive holds.

    Segments of the log become Parquet files, which `callboard sql` and any other tool can read. What is purged after
    that, tasks that have ended and owe nothing and finished approvals, is read from the archive as if it still were in
    the log: by every process that has these files. --verify names the first segment that was altered or damaged, and
    the exit code is 1 then.

    --json prints {folder, archived [manifest], verified, purged {entities, messages, held, waits}, holds {segments,
    first, last, messages, events, bytes, min_time_ns, max_time_ns}, log {last, missing}}; held are entities that the
    queue waits has not seen all of yet, missing the messages that were purged from the log so far.
    """
    from callboard.deploy.cli.session import run

    if keep and not purge:
        raise click.UsageError("--keep is for --purge")
    if verify and purge:
        raise click.UsageError("--verify changes nothing: leave out --purge")
    run(_archive(where, purge=purge, keep_ns=_keep_ns(keep), verify=verify, as_json=as_json))


async def _archive(where: Where, *, purge: bool, keep_ns: int | None, verify: bool, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at

    settings = where.settings()
    async with board_at(where, archive=settings.archive_folder) as place:
        log = await _log_of(place, settings.archive_folder)
        verified = await _verify(log) if verify else 0
        made = [] if verify else await _close(log, settings.archive.messages)
        purged = await _purge(place, log, keep_ns or settings.archive.keep_ns) if purge else None
        end, missing = await log.end(), await log.hot.missing()
    holds = log.archive.statistics()
    if as_json:
        print_json(
            {
                "folder": str(log.archive.folder),
                "archived": made,
                "verified": verified,
                "purged": purged._asdict() if purged else None,
                "holds": holds._asdict(),
                "log": {"last": end, "missing": missing},
            }
        )
        return
    _print(log, made, verified, purged, end, missing)


def _keep_ns(keep: str | None) -> int | None:
    from callboard.deploy import settings_values
    from callboard.events.errors import InvalidInput

    try:
        return settings_values.keep(keep, "--keep") if keep else None
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from None


async def _log_of(place: "Place", folder: "Path") -> "ArchivedLog":
    """The log over its archive, for who needs it: a damaged one is an error then. Raises Damaged."""
    from callboard.bus.archive.archived_log import ArchivedLog
    from callboard.bus.archive.folder import Archive
    from callboard.projections.closed import MAY_CLOSE

    if isinstance(place.bus.log, ArchivedLog):
        return place.bus.log
    log = ArchivedLog(place.bus.hot, Archive(folder), purged=MAY_CLOSE)
    await log.check()
    return log


async def _verify(log: "ArchivedLog") -> int:
    import asyncio

    from callboard.deploy.cli.printing import working

    with working("Verifying"):
        return await asyncio.to_thread(lambda: sum(1 for _ in log.archive.verify()))


async def _close(log: "ArchivedLog", messages: int) -> "list[Manifest]":
    from callboard.actors.archiver import Archiver
    from callboard.deploy.cli.printing import working

    with working("Archiving"):
        return await Archiver(log, messages=messages).archive(at_least=1, rest=0.0)


async def _purge(place: "Place", log: "ArchivedLog", keep_ns: int) -> "Purged":
    from callboard.actors.purger import Purger
    from callboard.deploy.cli.printing import working

    with working("Purging"):
        return await Purger(log, place.bus.snapshots, keep_ns=keep_ns).purge()


def _print(
    log: "ArchivedLog", made: "list[Manifest]", verified: int, purged: "Purged | None", end: int, missing: int
) -> None:
    from callboard.deploy.cli.moment import stored
    from callboard.deploy.cli.printing import clock

    holds: Any = log.archive.statistics()
    if verified:
        click.echo(f"every one of {verified} segments is what was written")
    if made:
        new = sum(each.messages for each in made)
        click.echo(f"archived {new:,} messages, {made[0].first} to {made[-1].last}, in {len(made)} segments")
    if purged:
        click.echo(f"purged {purged.entities:,} tasks and approvals, {purged.messages:,} messages")
        if purged.held:
            click.echo(f"not purged: {purged.held:,}, since the queue {purged.waits} has not seen all of them yet")
    if not holds.segments:
        click.echo(f"{log.archive.folder} holds nothing yet")
        return
    times = [clock(stored(ns)) for ns in (holds.min_time_ns, holds.max_time_ns)]
    click.echo(
        f"{log.archive.folder} holds {holds.messages:,} messages ({holds.events:,} events) in {holds.segments} "
        f"segments, {holds.bytes:,} bytes, from {times[0]} to {times[1]}"
    )
    click.echo(f"the log goes to {end}, {end - holds.last:,} of it not archived yet, {missing:,} purged")
