"""`callboard restore`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.bus.backup.restoring import Plan
    from callboard.deploy.restoring import Restored
    from callboard.projections.audit import Options

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--keys", metavar="NEWER", type=_FOLDER, help="A later backup, to take the keys of persons from.")
@click.option("--without-keys", is_flag=True, help="Without keys: nobody can read there what is private.")
@click.option("--no-audit", is_flag=True, help="Don't check the log that is restored.")
@where
@as_json
def restore(folder: Path, keys: Path | None, without_keys: bool, no_audit: bool, where: Where, as_json: bool) -> None:
    """Make the log, and all that belongs to it, from the backup in FOLDER, where there is none yet.

    It goes to the NATS server or the data folder that is meant, before a node is started there; nothing is written
    over. Then the timers of all that waits are set, and the log is audited, with the key of this node's signatures and
    with its archive, if they are here; exit code 1 if it is not clean.

    The log ends where the backup does. What was begun by then goes on when a node starts: a call that was answered
    after the backup is made again, and paid again. Who was forgotten after the backup must be forgotten again, unless
    the keys are those of a later one.

    --json prints {began, callboard, streams {name: {messages, bytes, first_seq, last_seq, consumer_count}},
    forgotten [persons], timers, audit}; audit is as of `callboard audit`, or null.
    """
    from callboard.bus.backup.restoring import plan
    from callboard.deploy.cli.audit import archive_at, trusted
    from callboard.deploy.cli.audit_text import told
    from callboard.deploy.cli.printing import print_json, working
    from callboard.deploy.cli.session import run
    from callboard.projections.audit import Options

    if keys and without_keys:
        raise click.UsageError("--keys and --without-keys: give one of them")
    settings = where.settings()
    with working("Checking the backup"):
        planned = plan(folder, keys=keys, without_keys=without_keys)
    options = None if no_audit else Options(trusted((), settings.audit_key))
    done = run(_restore(where, planned, options, settings.archive_folder))
    if as_json:
        print_json(
            {
                "began": planned.manifest.began,
                "callboard": planned.manifest.callboard,
                "streams": done.states,
                "forgotten": done.forgotten,
                "timers": done.timers,
                "audit": done.report,
            }
        )
    else:
        for stream, state in done.states.items():
            click.echo(f"{stream}: {state.messages:,} messages")
        for person in done.forgotten:
            click.echo(f"{person} is forgotten: the key was destroyed after the log was copied")
        click.echo(f"the timers of {done.timers:,} tasks, approvals, schedules and agents are set")
        if planned.manifest.purged and archive_at(settings.archive_folder) is None:
            click.echo(
                f"{planned.manifest.purged:,} messages of the log are in its archive alone: bring that to "
                f"{settings.archive_folder} before a node is started"
            )
        if done.report:
            click.echo(told(done.report, colour=click.style))
    if done.report and done.report.result != "clean":
        raise click.exceptions.Exit(1)


async def _restore(where: Where, planned: "Plan", options: "Options | None", archive: Path) -> "Restored":
    from callboard.deploy.cli.audit import archive_at
    from callboard.deploy.cli.printing import working
    from callboard.deploy.connect import bare_bus
    from callboard.deploy.restoring import restore

    url, data = where.address()
    async with bare_bus(url, data=data, nats=where.settings().nats) as bus:
        with working("Restoring"):
            return await restore(bus, planned, options, archive_at(archive))
