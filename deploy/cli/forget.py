"""`callboard forget`."""

from typing import TYPE_CHECKING

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.actors.forgetting import Said


@click.command()
@click.argument("person")
@click.option("--by", metavar="NAME", help="Who wants that; kept in the log.  [default: the name of the user]")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@where
@as_json
def forget(person: str, by: str | None, reason: str, yes: bool, where: Where, as_json: bool) -> None:
    """Make all unreadable that was said of PERSON, who was named as --private.

    The key is destroyed, and can't be restored. The log stays as it is: what was spent is still known, and `callboard
    audit` still finds each hash right. Tasks of PERSON that wait become dead letters.

    --json prints {person, generation, forgotten, events, of {kind: ids}}, and needs --yes.
    """
    from callboard.deploy.cli.session import run

    if as_json and not yes:
        raise click.UsageError("--json does not ask: add --yes, or leave it out")
    run(_forget(person, by if by is not None else _user(), reason, where, yes=yes, as_json=as_json))


async def _forget(person: str, by: str, reason: str, where: Where, *, yes: bool, as_json: bool) -> None:
    from callboard.actors.forgetting import said_of
    from callboard.deploy.cli.cells import in_one
    from callboard.deploy.cli.printing import print_json, working
    from callboard.deploy.cli.session import board_at

    async with board_at(in_one(where)) as place:
        if not yes:
            with working("Reading the log"):
                said = await said_of(place.bus, person)
            click.echo(f"What becomes unreadable of {person}: {_counted(said)}.")
            click.confirm("Forget it for good?", abort=True)
        said = await place.board.forget(person, by=by, reason=reason)
    if as_json:
        print_json(said)
    else:
        click.echo(f"{person} is forgotten: nobody can read {_counted(said)} any more")


def _counted(said: "Said") -> str:
    of = ", ".join(f"{kind}s: {len(ids):,}" for kind, ids in said.of.items())
    return f"{said.events:,} event{'' if said.events == 1 else 's'}" + (f" ({of})" if of else "")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        return ""
