"""`callboard backup`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.bus.backup.manifest import Manifest


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--without-keys", is_flag=True, help="Leave out the keys of persons.")
@where
@as_json
def backup(folder: Path, without_keys: bool, where: Where, as_json: bool) -> None:
    """Copy the log, and all that belongs to it on the NATS server, into a new FOLDER. Work goes on meanwhile.

    Not in it are the files that lie elsewhere: the archive, the settings, and the keys: that of signatures (audit.key),
    the master key of private data, those that NATS and HTTP let people in by. Copy them on their own.

    Who was forgotten after a backup is known again in what is restored from it. So when a newer backup is made, delete
    KEYS.snapshot from the older ones, and restore those with --keys NEWER: what was forgotten by then stays so.

    --json prints the manifest, as it is in FOLDER/manifest.json.
    """
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import run

    made = run(_back_up(folder, where, without_keys=without_keys))
    if as_json:
        print_json(made)
        return
    for copy in made.streams:
        click.echo(f"{folder / copy.file}: {copy.state.messages:,} messages, {copy.size:,} bytes")
    seconds = (made.ended - made.began).total_seconds()
    held = f"the first {made.checkpoint.size:,} messages are signed" if made.checkpoint else "nothing of it is signed"
    click.echo(f"{folder} is a backup of the log up to {_end(made):,}, made in {seconds:.1f} s; {held}")
    if made.purged:
        click.echo(f"{made.purged:,} messages of the log are in its archive alone: copy that as well")


async def _back_up(folder: Path, where: Where, *, without_keys: bool) -> "Manifest":
    from importlib.metadata import version

    from callboard.deploy.cli.printing import working
    from callboard.deploy.connect import hot_bus
    from callboard.deploy.nats_door import OPERATOR

    url, data = where.address()
    async with hot_bus(url, data=data, nats=where.settings().nats, wanted=OPERATOR) as bus:
        with working("Copying"):
            return await bus.back_up(folder, version=version("callboard"), without_keys=without_keys)


def _end(made: "Manifest") -> int:
    from callboard.bus.streams import EVENTS

    log = made.of(EVENTS)
    return log.state.last_seq if log else 0
