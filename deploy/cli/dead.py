"""`callboard dead`."""

from contextlib import AsyncExitStack
from functools import partial

import click

from callboard.deploy.cli.options import Where, as_json, where


class Dead(click.Group):
    """`callboard dead` alone is `callboard dead list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with ``list`` put in where no command is named."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Dead)
def dead() -> None:
    """List, show and requeue dead letters: tasks that were given up after all that could be tried."""


@dead.command("list")
@where
@as_json
def dead_list(where: Where, as_json: bool) -> None:
    """List dead letters, newest first, with the reason.

    --json prints [{id, submitted, preview, tags, status, backend, why, calls, cost, usage, first_token, duration,
    ended, parked_until, reason}].
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_list, as_json=as_json), as_json=as_json)


@dead.command("show")
@click.argument("task")
@where
@as_json
def dead_show(task: str, where: Where, as_json: bool) -> None:
    """Show one dead letter, as `callboard show` does."""
    from callboard.deploy.cli.session import run
    from callboard.deploy.cli.show import print_task

    run(print_task(task, where, as_json=as_json))


@dead.command("requeue")
@click.argument("task", required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
@where
@as_json
def dead_requeue(task: str | None, every: bool, where: Where, as_json: bool) -> None:
    """Try TASK again from the beginning.

    --json prints {requeued [id]}.
    """
    from callboard.deploy.cli.session import run

    if (task is None) != every:
        raise click.UsageError("name one TASK, or give --all")
    run(_requeue(task, where, as_json=as_json))


async def _list(where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import clock, one_line, print_json, print_table
    from callboard.deploy.cli.session import dead_letters, session_at

    async with session_at(where) as session:
        rows = dead_letters(session.projector)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ("task", "given up", "calls", "why", "what"),
            (
                (
                    row.id,
                    clock(row.ended) if row.ended else "",
                    str(row.calls),
                    one_line(row.reason, 120),
                    one_line(row.preview, 60),
                )
                for row in rows
            ),
            right=("calls",),
        )
        click.echo("try again with `callboard dead requeue TASK`, or --all")
    else:
        click.echo("no dead letters")


async def _requeue(meant: str | None, where: Where, *, as_json: bool) -> None:
    from callboard.actors.task_handle import TaskHandle
    from callboard.deploy.cli.cells import in_one
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at, dead_letters, projections, task_at, warn_if_alone
    from callboard.events.errors import IllegalTransition
    from callboard.events.task import Status

    async with AsyncExitStack() as stack:
        if meant:
            place, found = await stack.enter_async_context(task_at(where, meant))
            ids = [found]
        else:
            place = await stack.enter_async_context(board_at(in_one(where)))
            ids = [row.id for row in dead_letters(await projections(place))]
        for each in ids:
            handle = TaskHandle(place.board, each)
            status = (await handle.state()).status
            if status is Status.DEAD:
                await handle.requeue()
            elif meant:
                raise IllegalTransition(f"task {each} is {status}: only a dead one can be requeued")
        if ids:
            warn_if_alone(place, "nothing works on it")
    if as_json:
        print_json({"requeued": ids})
    else:
        click.echo("\n".join(f"task {each} is queued again" for each in ids) or "no dead letters")
