"""`callboard scale`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.argument("backend")
@click.argument("replicas", type=click.IntRange(0), required=False)
@click.option("--auto", is_flag=True, help="Let its load change it again.")
@click.option("--reason", metavar="TEXT", help="Why; kept in the log.")
@where
@as_json
def scale(backend: str, replicas: int | None, auto: bool, reason: str | None, where: Where, as_json: bool) -> None:
    """Say in the log how many REPLICAS the BACKEND should have; every node that runs it follows.

    Replicas that go first finish their calls. With 0 it gets no new work; what it was given goes to others, or waits.

    Where the settings scale a backend by its load, a number given here is held, also beyond min and max, until --auto
    gives the backend back.

    --json prints {backend, replicas, draining, held, changed}.
    """
    from callboard.deploy.cli.change import print_change
    from callboard.deploy.cli.session import run
    from callboard.events.backend import Backend, Scaled
    from callboard.events.errors import InvalidInput

    if auto == (replicas is not None):
        raise click.UsageError("say how many REPLICAS there should be, or --auto: one of them")

    def wish(known: Backend) -> Scaled | None:
        if replicas is not None:
            return Scaled(replicas, reason or "scaled by hand", held=True)
        if known.spec is None or known.spec.scaling is None:
            raise InvalidInput(
                f"{backend} is not scaled by its load: its settings have no [backends.{backend}.scaling]"
            )
        return Scaled(known.replicas, reason or "given back to its load") if known.held else None

    run(print_change(backend, wish, where, as_json=as_json))
