"""What `callboard replay` shows of a moment: a summary, one projection, or one entity."""

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from callboard.actors.moments import GROUPS, Group, Past, entity_at, projector_of
from callboard.bus.log import Record
from callboard.deploy.cli.entities import the_entity
from callboard.deploy.cli.moment import Moment, stored
from callboard.deploy.cli.portrait import lines
from callboard.deploy.cli.printing import clock, one_line, print_json, print_table, usd, warn, whole, working
from callboard.deploy.cli.telling import told
from callboard.deploy.connect import Place
from callboard.deploy.settings_values import did_you_mean
from callboard.events.agent_names import name_of
from callboard.events.envelope import decode, short_type
from callboard.events.errors import InvalidInput
from callboard.projections.agents import AGENTS
from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.cost import COST
from callboard.projections.load import LOAD
from callboard.projections.projection import Projection
from callboard.projections.tasks import TASKS

if TYPE_CHECKING:
    from callboard.actors.projector import Projector


class Found(NamedTuple):
    """A projection, and those it is folded with."""

    projection: Projection[Any]
    group: Group


def projection_called(name: str) -> Found:
    """The projection of this name. Raises InvalidInput, with a guess."""
    known = {each.name: Found(each, group) for group in GROUPS for each in group.projections}
    if name not in known:
        guess = did_you_mean(name, known)
        hint = f"did you mean {guess!r}?" if guess else f"known are {', '.join(known)}"
        raise InvalidInput(f"unknown projection {name!r}; {hint}")
    return known[name]


async def folded_to(place: Place, group: Group, seq: int) -> "Projector":
    """The projections of a group as they were, from the nearest snapshot before."""
    projector = projector_of(place.bus, group)
    with working("Reading the log"):
        await projector.catch_up(seq)
    for entity, why in projector.broken.items():
        warn(f"{entity} is broken: {why}; what it says is in no projection")
    return projector


async def show_projection(place: Place, moment: Moment, name: str, *, as_json: bool) -> None:
    """Print the state of one projection. Raises InvalidInput if there is none of this name."""
    projection, group = projection_called(name)
    state = (await folded_to(place, group, moment.seq)).state(projection)
    if as_json:
        told_of = {"projection": name, "version": projection.version} | moment._asdict()
        print_json(told_of | {"state": whole(state)})
        return
    click.echo(f"projection {name} {moment}\n")
    click.echo("\n".join(lines(state)) or "nothing yet")


async def show_entity(place: Place, moment: Moment, meant: str, *, as_json: bool) -> None:
    """Print one entity: its state, the event that made it so, and the next one. Raises InvalidInput."""
    aggregate, entity_id = await the_entity(place, meant, "--entity")
    past: Past[Any] = await entity_at(place.bus, aggregate, entity_id, moment.seq)
    name = f"{aggregate.kind}/{name_of(entity_id) if aggregate.kind == 'agent' else entity_id}"
    last, following = _events(past.last), _events(past.following)
    if not past.last and past.following:
        first = past.following
        raise InvalidInput(f"{name} was not there yet: it begins at {first.seq}, {clock(stored(first.time_ns))}")
    state = past.entity.state
    if as_json:
        shown = {"version": past.entity.version, "state": whole(state)}
        told_of = {"last": last[-1] if last else None, "next": following[0] if following else None}
        print_json({"entity": name} | moment._asdict() | shown | told_of)
        return
    click.echo(f"{name} {moment}, its version {past.entity.version}\n")
    click.echo("\n".join(lines(state)))
    click.echo()
    for title, events in (("last", last[-1:]), ("next", following[:1])):
        for event in events:
            said = f"{event['event']} {one_line(event['told'], 160)}"
            click.echo(f"{title}: {event['seq']}, {clock(event['time'])}: {said}")
    if not following:
        click.echo("next: nothing yet")


def _events(record: Record | None) -> list[dict[str, Any]]:
    if record is None:
        return []
    time = stored(record.time_ns)
    return [
        {"seq": record.seq, "time": time, "event": short_type(each.event), "told": told(each.event)}
        for each in decode(record.data)
    ]


async def show_summary(place: Place, moment: Moment, *, as_json: bool) -> None:
    """Print what there was: tasks, money, backends, budgets, agents."""
    live, crew = [await folded_to(place, group, moment.seq) for group in GROUPS[:2]]
    summary: dict[str, Any] = {
        "tasks": {status: number for status, number in sorted(live.state(TASKS).counts.items()) if number},
        "cost": _cost(live),
        "backends": _backends(live),
        "budgets": _budgets(live),
        "agents": _agents(crew),
    }
    if as_json:
        print_json(moment._asdict() | summary)
        return
    click.echo(f"{moment}\n")
    cost = _cost(live)
    click.echo("tasks: " + (", ".join(f"{number} {status}" for status, number in summary["tasks"].items()) or "none"))
    click.echo(f"spent: {usd(cost['cost'])} in {cost['calls']:,} calls, of which {usd(cost['wasted'])} for nothing")
    for title in ("backends", "budgets", "agents"):
        rows = summary[title]
        if rows:
            click.echo()
            columns = tuple(rows[0])
            print_table(columns, (tuple(_cell(column, row[column]) for column in columns) for row in rows))


def _cell(column: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int):
        return usd(value) if column in {"limit", "settled", "held"} else f"{value:,}"
    return one_line(str(value or ""), 60)


def _cost(live: "Projector") -> dict[str, int]:
    total = live.state(COST).total
    return {"calls": total.calls, "cost": total.cost, "wasted": total.wasted}


def _backends(live: "Projector") -> list[dict[str, Any]]:
    load = live.state(LOAD).backends
    return [
        {
            "backend": name,
            "model": each.spec.model if each.spec else "",
            "replicas": each.replicas,
            "breaker": str(each.breaker),
            "draining": each.draining,
            "running": load[name].running if name in load else 0,
            "outstanding": len(load[name].outstanding) if name in load else 0,
        }
        for name, each in sorted(live.state(BACKENDS).by_id.items())
    ]


def _budgets(live: "Projector") -> list[dict[str, Any]]:
    return [
        {
            "budget": name,
            "limit": each.limit,
            "settled": each.settled,
            "held": each.held,
            "breached": each.breached,
        }
        for name, each in sorted(live.state(BUDGETS).by_id.items())
    ]


def _agents(crew: "Projector") -> list[dict[str, Any]]:
    return [
        {
            "agent": name_of(name),
            "message": each.work,
            "rests": each.rests,
            "inbox": each.waiting,
            "finished": each.finished,
            "dead": each.dead,
        }
        for name, each in sorted(crew.state(AGENTS).by_id.items())
    ]
