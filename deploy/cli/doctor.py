"""`callboard doctor`."""

from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.doctor import Finding


@click.command()
@where
@as_json
def doctor(where: Where, as_json: bool) -> None:
    """Check settings, server, streams, queues, the log and the backends; exit code 1 if something fails.

    The whole log is read. Models are not called, but their addresses are.

    --json prints [{level, check, told, mend}]; level is ok, warn or fail.
    """
    from callboard.deploy.cli.printing import one_line, print_json
    from callboard.deploy.cli.session import run

    found = run(_examine(where))
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for finding in found:
            mend = f"  →  {finding.mend}" if finding.mend else ""
            line = one_line(f"{finding.check}: {finding.told}{mend}", 400)
            click.echo(f"{click.style(f'{finding.level:4}', fg=colours[finding.level])}  {line}")
    if any(finding.level == "fail" for finding in found):
        raise click.exceptions.Exit(1)


async def _examine(where: Where) -> "list[Finding]":
    import os

    from callboard.bus.errors import BusError
    from callboard.deploy.cli.cells import cells_of
    from callboard.deploy.cli.modules import importable
    from callboard.deploy.cli.printing import working
    from callboard.deploy.cli.session import board_at
    from callboard.deploy.connect import NoNode
    from callboard.deploy.doctor import Finding, of_board, of_endpoints, of_settings
    from callboard.deploy.settings_file import InvalidSettings

    try:
        settings = where.settings()
    except InvalidSettings as error:
        return [Finding("fail", "settings", line, "mend that line") for line in str(error).splitlines()]
    importable(where.config)
    found = of_settings(settings, os.environ)
    with working("Looking for the backends"):
        found += await of_endpoints(settings, os.environ)
    for each in [where._replace(cell=cell.shards) for cell in cells_of(where)] or [where]:
        of = f"cell {each.cell}: " if each.cell else ""
        try:
            async with board_at(each) as place:
                with working("Reading the log"):
                    told = await of_board(place, each.settings(), each.settings().data_folder)
        except NoNode as error:
            told = [Finding("warn", "node", str(error), "start one with `callboard up`")]
        except BusError as error:
            told = [Finding("fail", "server", str(error), "start it, or mend --url")]
        found += [finding._replace(check=f"{of}{finding.check}") for finding in told]
    return found
