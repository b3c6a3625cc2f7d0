"""`callboard scale`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.argument("backend")
@click.argument("replicas", type=click.IntRange(0))
@where
@as_json
def scale(backend: str, replicas: int, where: Where, as_json: bool) -> None:
    """Say in the log how many REPLICAS the BACKEND should have; every node that runs it follows.

    Replicas that go first finish their calls. With 0 it gets no new work, and what it was given waits.

    --json prints {backend, replicas, draining, changed}.
    """
    from callboard.deploy.cli.change import print_change
    from callboard.deploy.cli.session import run
    from callboard.events.backend import Scaled

    run(print_change(backend, Scaled(replicas, "scaled by hand"), where, as_json=as_json))
