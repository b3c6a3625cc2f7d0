"""`callboard schedule`."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from callboard.deploy.cli.options import Where, as_json, where
from callboard.deploy.cli.subcommands import Subcommands
from callboard.deploy.cli.task_options import task_fields, task_options

if TYPE_CHECKING:
    from callboard.events.schedule import Schedule


@click.group(cls=Subcommands, default="list")
def schedule() -> None:
    """Submit a task, or send an agent a message, again and again, at the times of a cron expression."""


@schedule.command("set")
@click.argument("name")
@click.argument("cron")
@click.argument("text", default="")
@click.option("--agent", metavar="AGENT", help="Send TEXT to this agent, instead of submitting it as a task.")
@click.option("--zone", metavar="ZONE", default="UTC", help="The time zone that CRON is meant in.  [default: UTC]")
@task_options
@where
@as_json
def schedule_set(
    name: str, cron: str, text: str, agent: str | None, zone: str, where: Where, as_json: bool, **given: Any
) -> None:
    """Plan the schedule NAME: TEXT as a task, whenever CRON is due. Set again, it is planned otherwise.

    CRON has minute, hour, day of month, month and day of week, as '0 9 * * 1-5' for nine o'clock on weekdays; with six
    fields the first is seconds. What is due while no node runs is done once, when one does. --timeout counts from each
    time; a --context is read as it is then, and TEXT may be left out.

    An --agent is told which time it is for unless there is TEXT; options of tasks are not for it.

    --tools takes a list of {name, description, parameters}, the latter a JSON Schema.

    --json prints {schedule, cron, zone, next, times, last {due, task, missed}, input, agent}; last is null before the
    first time, input for a text that is too large to be kept in the log, agent for a task.
    """
    from callboard.deploy.cli.session import run

    fields = {"input": text or None, "agent": agent, **_of_task(given, agent)}
    run(_set(name, cron, zone, fields, where, as_json=as_json))


@schedule.command("list")
@where
@as_json
def schedule_list(where: Where, as_json: bool) -> None:
    """List all schedules, with when each is due next.

    --json prints a list of what `callboard schedule set` prints one of.
    """
    from callboard.deploy.cli.cells import in_each

    in_each(where, partial(_list, as_json=as_json), as_json=as_json)


@schedule.command("remove")
@click.argument("name")
@where
@as_json
def schedule_remove(name: str, where: Where, as_json: bool) -> None:
    """Let the schedule NAME submit nothing any more; what it has submitted goes on.

    --json prints {schedule}.
    """
    from callboard.deploy.cli.session import run

    run(_remove(name, where, as_json=as_json))


def _of_task(given: dict[str, Any], agent: str | None) -> dict[str, Any]:
    """The fields of a task; for an agent, those that were asked for all the same."""
    fields = task_fields(given)
    return fields if agent is None else {name: value for name, value in fields.items() if value}


async def _set(name: str, cron: str, zone: str, fields: dict[str, Any], where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at, warn_if_alone

    async with board_at(where, of=name) as place:
        planned = await place.board.schedule(name, cron, zone=zone, **fields)
        warn_if_alone(place, f"schedule {name} is kept, and submits nothing")
    if as_json:
        print_json(_document(planned))
    else:
        click.echo(f"schedule {name}: next at {_next(planned)}")


async def _list(where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import one_line, print_json, print_table
    from callboard.deploy.cli.session import board_at

    async with board_at(where) as place:
        found = await place.board.schedules.all()
    if as_json:
        print_json([_document(each) for each in found])
    elif found:
        print_table(
            ("schedule", "cron", "zone", "next", "times", "last", "what"),
            (
                (
                    each.id,
                    each.planned.cron,
                    each.planned.zone,
                    _next(each),
                    str(each.times),
                    each.fired.task if each.fired else "",
                    one_line(_what(each), 40),
                )
                for each in found
                if each.planned
            ),
            right=("times",),
        )
    else:
        click.echo("no schedules: callboard schedule set NAME '0 9 * * 1-5' \"Good morning\" makes one")


async def _remove(name: str, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.cli.session import board_at

    async with board_at(where, of=name) as place:
        await place.board.schedules.remove(name, "by hand")
    if as_json:
        print_json({"schedule": name})
    else:
        click.echo(f"schedule {name} is removed")


def _document(schedule: "Schedule") -> dict[str, Any]:
    from callboard.actors.schedules import due_next
    from callboard.events.agent_names import name_of

    planned, fired = schedule.planned, schedule.fired
    return {
        "schedule": schedule.id,
        "cron": planned.cron if planned else None,
        "zone": planned.zone if planned else None,
        "next": due_next(schedule),
        "times": schedule.times,
        "last": {"due": fired.due, "task": fired.task, "missed": fired.missed} if fired else None,
        "input": _text(schedule),
        "agent": name_of(planned.letter.agent) if planned and planned.letter else None,
    }


def _text(schedule: "Schedule") -> str | None:
    import msgspec

    from callboard.events.private import forgotten_note, is_forgotten
    from callboard.events.task_spec import newest_text

    planned = schedule.planned
    if planned is None or (planned.spec is None and planned.letter is None):
        return None
    if planned.spec is not None:
        given = planned.spec.input
        return forgotten_note(given.private) if is_forgotten(given) else newest_text(planned.spec)
    body = planned.letter.body.json if planned.letter and planned.letter.body else None
    return body if body is None or isinstance(body, str) else msgspec.json.encode(body).decode()


def _what(schedule: "Schedule") -> str:
    from callboard.events.agent_names import name_of

    letter = schedule.planned.letter if schedule.planned else None
    if letter is None:
        return _text(schedule) or ""
    return f"to {name_of(letter.agent)}: {_text(schedule) or 'which time it is for'}"


def _next(schedule: "Schedule") -> str:
    from callboard.actors.schedules import due_next
    from callboard.deploy.cli.printing import clock

    due = due_next(schedule)
    return clock(due) if due else "never"
