"""`callboard deny`."""

import click

from callboard.deploy.cli.approve import answer, answering
from callboard.deploy.cli.options import Where


@click.command()
@answering
def deny(approval: str, note: str, by: str | None, where: Where, as_json: bool) -> None:
    """Say that what APPROVAL asks about may not be done; see `callboard approve`.

    --json prints what `callboard approvals` prints a list of.
    """
    from callboard.deploy.cli.session import run

    run(answer(approval, note, by, where, approved=False, as_json=as_json))
