"""`callboard replay`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.option("--until", metavar="SEQ|TIME", help="Go back to a log sequence, a time, or so long ago, as '2h ago'.")
@click.option(
    "--what-if",
    "what_if",
    metavar="KEY=VALUE[,KEY=VALUE…]",
    multiple=True,
    help="Decide again under other rules; may be given several times, to compare.",
)
@where
@as_json
def replay(until: str | None, what_if: tuple[str, ...], where: Where, as_json: bool) -> None:
    """Rebuild what was true at any moment, from the log alone."""
    from callboard.deploy.cli.session import run

    run(_replay(until, what_if, where, as_json=as_json))


async def _replay(until: str | None, changes: tuple[str, ...], where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.moment import sequence_of
    from callboard.deploy.cli.session import board_at

    async with board_at(where) as place:
        seq = await sequence_of(place.bus.log, until)
        if changes:
            from callboard.deploy.cli.what_if import what_if

            await what_if(place, changes, until=seq, as_json=as_json)
