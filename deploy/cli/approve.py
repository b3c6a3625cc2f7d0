"""`callboard approve`, and what it shares with `callboard deny`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.connect import Place

F = TypeVar("F", bound=Callable[..., Any])


def answering(command: F) -> F:
    """Give a command the approval that is meant, and what its answer can be told with."""
    given = (
        click.argument("approval"),
        click.option("--note", metavar="TEXT", default="", help="Kept with the answer."),
        click.option("--by", metavar="NAME", help="Who says so.  [default: the user's name]"),
        where,
        as_json,
    )
    for option in reversed(given):
        command = option(command)
    return command


@click.command()
@answering
def approve(approval: str, note: str, by: str | None, where: Where, as_json: bool) -> None:
    """Say that what APPROVAL asks about may be done.

    APPROVAL is an id, or a beginning or end of one that no other has. One that has ended is not answered any more; that
    it was is recorded.

    --json prints what `callboard approvals` prints a list of.
    """
    from callboard.deploy.cli.session import run

    run(answer(approval, note, by, where, approved=True, as_json=as_json))


async def answer(meant: str, note: str, by: str | None, where: Where, *, approved: bool, as_json: bool) -> None:
    """Answer the approval that is meant."""
    import getpass

    from callboard.deploy.cli.approvals import document, what
    from callboard.deploy.cli.printing import one_line, print_json
    from callboard.deploy.cli.session import found_at, the_one

    async def find(place: "Place") -> str:
        known = [each.id for each in await place.board.approvals.all()]
        return the_one(meant, known, "approval", "callboard approvals")

    who = by or getpass.getuser()
    async with found_at(where, meant, find) as (place, found):
        handle = place.board.approval(found)
        after = await (handle.approve(who, note) if approved else handle.deny(who, note))
    if as_json:
        print_json(document(after))
    else:
        click.echo(f"{after.status} by {after.by}: {one_line(what(after), 200)}")
