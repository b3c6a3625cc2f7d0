"""`callboard score`."""

from typing import get_args

import click

from callboard.deploy.cli.options import Where, as_json, where
from callboard.events.task import Source


@click.command()
@click.argument("task")
@click.argument("score", type=click.FloatRange(0, 1))
@click.option("--source", type=click.Choice(get_args(Source)), default="user", show_default=True, help="Who says so.")
@click.option("--note", metavar="TEXT", default="", help="Kept with the task.")
@where
@as_json
def score(task: str, score: float, source: Source, note: str, where: Where, as_json: bool) -> None:
    """Say that the answer of TASK is worth SCORE, from 0 (worthless) to 1 (could not be better).

    The newest score of each source counts. --json prints {task, scores {source: parts per million}}.
    """
    from callboard.deploy.cli.session import run

    run(_score(task, score, source, note, where, as_json=as_json))


async def _score(meant: str, score: float, source: Source, note: str, where: Where, *, as_json: bool) -> None:
    from callboard.actors.task_handle import TaskHandle
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import task_at

    async with task_at(where, meant) as (place, found):
        handle = TaskHandle(place.board, found)
        await handle.evaluate(score, source=source, note=note)
        scores = (await handle.state()).scores
    if as_json:
        print_json({"task": handle.id, "scores": scores})
    else:
        click.echo(f"task {handle.id}: {source} says {score:.0%}")
