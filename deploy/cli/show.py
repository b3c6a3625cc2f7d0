"""`callboard show`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from callboard.deploy.cli.history import Call, Step
    from callboard.events.task import Task


@click.command()
@click.argument("task")
@where
@as_json
def show(task: str, where: Where, as_json: bool) -> None:
    """Show TASK: its state, every event of its history, its calls and its answer.

    TASK is an id, or a beginning or end of one that no other task has.

    --json prints {task, status, backend, model, reason, cost, attempt, tries, unsettled [call], spec, context, output,
    tool_calls, calls [{call, backend, worker, began, state, ended, model, usage, cost, first_token, duration, why}],
    history [{time, version, event, actor, told, cost}]}.
    """
    from callboard.deploy.cli.session import run

    run(print_task(task, where, as_json=as_json))


async def print_task(meant: str, where: Where, *, as_json: bool) -> None:
    """Print all there is to know of a task."""
    from callboard.deploy.cli.history import choices, steps
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import history_of, task_at, whole_text

    async with task_at(where, meant) as (place, task_id):
        envelopes = await history_of(place, task_id)
        task = (await place.board.tasks.load(task_id)).state
        output = await whole_text(place, task.completed.output) if task.completed else None
    told = steps(envelopes)
    calls = [call for choice in choices(envelopes)[0] for call in choice.calls]
    if as_json:
        print_json(_document(task, output, calls, told))
    else:
        _print(task, output, calls, told)


def _document(task: "Task", output: str | None, calls: Sequence["Call"], told: Sequence["Step"]) -> dict[str, Any]:
    done = task.completed
    return {
        "task": task.id,
        "status": task.status,
        "backend": task.backend,
        "model": done.model if done else None,
        "reason": task.reason,
        "cost": task.cost,
        "attempt": task.attempt,
        "tries": task.tries,
        "unsettled": task.unsettled,
        "spec": task.spec,
        "context": task.spec.context if task.spec else None,
        "output": output,
        "tool_calls": done.tool_calls if done else (),
        "calls": calls,
        "history": told,
    }


def _print(task: "Task", output: str | None, calls: Sequence["Call"], told: Sequence["Step"]) -> None:
    from callboard.deploy.cli.history import reading
    from callboard.deploy.cli.printing import clock, one_line, print_table, print_text, took, usd
    from callboard.events.task import ENDED, Status

    where = f" on {task.backend}" if task.backend else ""
    reason = f": {one_line(task.reason, 200)}" if task.reason and task.status is not Status.COMPLETED else ""
    click.echo(f"task {task.id} is {task.status}{where}, cost {usd(task.cost)}{reason}")
    if told_of := reading(task.spec):
        click.echo(told_of)
    if task.unsettled:
        click.echo(f"not in the cost: calls {', '.join(map(str, task.unsettled))}, whose end nobody has told")
    click.echo()
    print_table(
        ("time", "version", "event", "actor", "cost", ""),
        (
            (
                clock(step.time),
                str(step.version),
                step.event,
                step.actor,
                usd(step.cost) if step.cost else "",
                one_line(step.told, 200),
            )
            for step in told
        ),
        right=("version", "cost"),
    )
    if calls:
        click.echo()
        print_table(
            ("call", "backend", "model", "state", "in", "out", "cost", "first token", "took", ""),
            (
                (
                    str(call.call),
                    call.backend,
                    call.model,
                    call.state,
                    str(call.usage.input),
                    str(call.usage.output),
                    usd(call.cost),
                    took(call.first_token),
                    took(call.duration),
                    one_line(call.why, 120),
                )
                for call in calls
            ),
            right=("call", "in", "out", "cost", "first token", "took"),
        )
    if output is not None:
        click.echo()
        print_text(output)
    elif task.status not in ENDED:
        click.echo("\nno answer yet")
