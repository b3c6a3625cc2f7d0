"""`callboard drain`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.argument("backend")
@click.option("--undo", is_flag=True, help="Let it take work again.")
@where
@as_json
def drain(backend: str, undo: bool, where: Where, as_json: bool) -> None:
    """Give BACKEND no new work; calls under way go on, and what it has not begun goes to others.

    --json prints {backend, replicas, draining, held, changed}.
    """
    from callboard.deploy.cli.change import print_change
    from callboard.deploy.cli.session import run
    from callboard.events.backend import Drained, Resumed

    event = Resumed() if undo else Drained("drained by hand")
    run(print_change(backend, lambda _: event, where, as_json=as_json))
