"""Which of several cells a command is for, where the settings have ``[[cells]]``; else none of this matters."""

import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from callboard.deploy.cli.options import Where
    from callboard.deploy.settings import Cell, Settings


def settings_at(settings: "Settings", wanted: str) -> "Settings":
    """The settings of who is at the cell that holds the shards ``wanted``. Raises InvalidInput."""
    from msgspec.structs import replace

    from callboard.deploy.settings import Archive
    from callboard.events.errors import InvalidInput
    from callboard.events.shards import Shards

    shards = Shards.parse(wanted)
    for cell in settings.cells:
        if {*shards} <= {*cell.held}:
            nats = replace(
                settings.nats,
                url=cell.url,
                credentials=cell.credentials or settings.nats.credentials,
                ca=cell.ca or settings.nats.ca,
            )
            ours = cell.url == settings.nats.url if cell.url else cell.data == settings.data
            archive = settings.archive if ours else Archive()
            return replace(settings, nats=nats, data=cell.data or settings.data, archive=archive)
    known = ", ".join(cell.shards for cell in settings.cells) or "none"
    raise InvalidInput(f"no cell holds shards {wanted}: [[cells]] has {known}")


def cells_of(where: "Where") -> "tuple[Cell, ...]":
    """The cells among which one is still to be chosen; none if the command line has said, or there is one log."""
    from callboard.deploy.connect import URL_VARIABLE

    if where.cell is not None or where.data or where.url or os.environ.get(URL_VARIABLE):
        return ()
    return where.settings().cells


def at(where: "Where", entity_id: str) -> "Where":
    """The cell that holds the shard of an entity, by its id or name, if there are several."""
    from callboard.events.agent_names import shard_of_named

    if not cells_of(where):
        return where
    return where._replace(cell=str(shard_of_named(entity_id)))


def in_one(where: "Where") -> "Where":
    """The same, for what is each cell's own. Raises InvalidInput when there are several and none is named."""
    from callboard.events.errors import InvalidInput

    if cells := cells_of(where):
        known = ", ".join(cell.shards for cell in cells)
        raise InvalidInput(f"this is each cell's own: name one by --cell ({known})")
    return where


def in_each(where: "Where", main: "Callable[[Where], Coroutine[Any, Any, None]]", *, as_json: bool = False) -> None:
    """Run a command that lists, once for each cell, under a heading.

    One that is down is told of, and the others are listed. Raises InvalidInput for JSON of several.
    """
    from callboard.bus.errors import Unavailable
    from callboard.deploy.cli.printing import warn
    from callboard.deploy.cli.session import run
    from callboard.deploy.connect import NoNode

    cells = cells_of(where)
    if not cells or as_json:
        run(main(in_one(where)))
        return
    down = False
    for number, cell in enumerate(cells):
        click.echo(("\n" if number else "") + click.style(str(cell), bold=True))
        try:
            run(main(where._replace(cell=cell.shards)))
        except (Unavailable, NoNode) as error:
            down = True
            warn(f"{cell}: {error}")
    if down:
        raise click.exceptions.Exit(3)
