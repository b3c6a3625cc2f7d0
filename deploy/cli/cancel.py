"""`callboard cancel`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.argument("task")
@click.option("--reason", metavar="TEXT", default="cancelled by hand", show_default=True, help="Kept with the task.")
@where
@as_json
def cancel(task: str, reason: str, where: Where, as_json: bool) -> None:
    """End TASK unless it has ended; a model call under way is stopped, and what it cost is booked.

    --json prints {task, status, output, …} as `callboard submit` does.
    """
    from callboard.deploy.cli.session import run

    run(_cancel(task, reason, where, as_json=as_json))


async def _cancel(meant: str, reason: str, where: Where, *, as_json: bool) -> None:
    from callboard.actors.outcome import outcome_of
    from callboard.actors.task_handle import TaskHandle
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import task_at
    from callboard.events.task import ENDED

    async with task_at(where, meant) as (place, found):
        handle = TaskHandle(place.board, found)
        before = await handle.state()
        ended = before.status in ENDED
        outcome = await outcome_of(place.bus, before) if ended else await handle.cancel(reason)
    if as_json:
        print_json(outcome)
    elif ended:
        click.echo(f"task {handle.id} was {outcome.status} already")
    else:
        click.echo(f"task {handle.id} is {outcome.status}")
