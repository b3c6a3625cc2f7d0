"""What `callboard why` prints: of a task its decisions and who asked for it, of any other event what led to it."""

from collections.abc import Sequence
from typing import Any

import click

from callboard.actors.moments import entity_at
from callboard.bus.aggregates import BACKEND, BUDGET
from callboard.deploy.cli import decisions
from callboard.deploy.cli.causes import Causes, Link, Told
from callboard.deploy.cli.entities import the_entity
from callboard.deploy.cli.history import Choice, Refusal, choices, reading
from callboard.deploy.cli.printing import clock, one_line, print_json, usd
from callboard.deploy.cli.scaling_text import again, numbers
from callboard.deploy.cli.telling import entity_name, told
from callboard.deploy.connect import Place
from callboard.events import agent_events, task_events
from callboard.events.backend import Scaled
from callboard.events.budget import Breached
from callboard.events.envelope import short_type
from callboard.events.placement import Hedged

_WIDTH = 120


async def task(place: Place, task_id: str, *, as_json: bool) -> None:
    """Explain each routing decision about a task, and where the task comes from."""
    causes = Causes(place.bus)
    history = await causes.history("task", task_id)
    made, refused = choices([each.envelope for each in history])
    prices = [await decisions.prices_at(place.bus, choice) for choice in made]
    first = history[0].envelope.event
    spec = first.spec if isinstance(first, task_events.Submitted) else None
    chain = await causes.chain(history[0])
    if as_json:
        assignments = [decisions.document(*each) for each in zip(made, prices, strict=True)]
        context = spec.context if spec else None
        above = [_link(link, None) for link in chain]
        print_json(
            {"task": task_id, "context": context, "assignments": assignments, "refusals": refused, "chain": above}
        )
        return
    if len(chain) > 1:
        _print_chain(chain)
        click.echo()
    if told_of := reading(spec):
        click.echo(f"{told_of}\n")
    decided: list[tuple[Choice | Refusal, Any]] = [*zip(made, prices, strict=True), *((each, {}) for each in refused)]
    for decision, known in sorted(decided, key=lambda each: each[0].version):
        decisions.show(decision, known)
    if not decided:
        last = history[-1].envelope
        click.echo(f"task {task_id}: no decision yet, {one_line(last.type)} at {clock(last.time)}")


async def entity(place: Place, meant: str, *, as_json: bool) -> None:
    """Explain a task, the last decision of an agent, a backend's scaling, a budget's breach, or the last event."""
    aggregate, entity_id = await the_entity(place, meant, "KIND/ID")
    if aggregate.kind == "task":
        await task(place, entity_id, as_json=as_json)
        return
    history = await Causes(place.bus).history(aggregate.kind, entity_id)
    if aggregate.kind == "agent" and (asked := _last_task(history)):
        await task(place, asked, as_json=as_json)
        return
    decisive = [each for each in history if isinstance(each.envelope.event, Breached | Scaled)]
    await event(place, (decisive or history)[-1], as_json=as_json)


async def event(place: Place, last: Told, *, as_json: bool) -> None:
    """Explain what led to an event, with the decisions on the way, and what a budget or scaling was then."""
    kind, entity_id = last.envelope.kind, last.envelope.entity
    budget = (await entity_at(place.bus, BUDGET, entity_id, last.seq)).entity.state if kind == "budget" else None
    scaling = await _scaling(place, last)
    causes = Causes(place.bus)
    chain = await causes.chain(last)
    made = {link.told.envelope.id: await _decision(place, causes, link.told) for link in chain}
    if as_json:
        links = [
            _link(link, decisions.document(*found) if (found := made[link.told.envelope.id]) else None)
            for link in chain
        ]
        entity = entity_name(last.envelope)
        print_json({"entity": entity, "seq": last.seq, "chain": links, "budget": budget, "scaling": scaling})
        return
    for place_of, link in enumerate(chain):
        _print_chain([link], first=not place_of)
        if found := made[link.told.envelope.id]:
            click.echo()
            decisions.show(*found)
    if scaling:
        for line in numbers(scaling["demand"]):
            click.echo(f"  {line}")
        click.echo(f"  decided again on that: {'the same' if scaling['again'] else 'something else, by this version'}")
    if budget:
        amounts = f"limit {usd(budget.limit)}, spent {usd(budget.settled)}, held {usd(budget.held)}"
        click.echo(f"budget {entity_id} then: {amounts}, left {usd(budget.left)}; on breach: {budget.on_breach}")


async def _scaling(place: Place, last: Told) -> dict[str, Any] | None:
    """What a backend was scaled by its load on, and whether the same would be decided again."""
    envelope = last.envelope
    if not isinstance(envelope.event, Scaled) or envelope.event.demand is None:
        return None
    before = (await entity_at(place.bus, BACKEND, envelope.entity, last.seq - 1)).entity.state
    return {"demand": envelope.event.demand, "again": again(before, envelope.event)}


async def _decision(place: Place, causes: Causes, at: Told) -> tuple[Choice, Any] | None:
    if not isinstance(at.envelope.event, task_events.Assigned | Hedged):
        return None
    history = await causes.history("task", at.envelope.entity)
    made, _ = choices([each.envelope for each in history])
    choice = next(each for each in made if each.version == at.envelope.version)
    return choice, await decisions.prices_at(place.bus, choice)


def _last_task(history: Sequence[Told]) -> str:
    """The newest task that an agent's step waited for."""
    for each in reversed(history):
        event = each.envelope.event
        if isinstance(event, agent_events.Stepped) and event.on.startswith("task/"):
            return event.on.removeprefix("task/")
    return ""


def _link(link: Link, decision: dict[str, Any] | None) -> dict[str, Any]:
    seq, time, envelope = link.told
    return {
        "seq": seq,
        "time": time,
        "entity": entity_name(envelope),
        "event": short_type(envelope.event),
        "id": envelope.id,
        "source": envelope.source,
        "how": link.how,
        "told": told(envelope.event),
        "decision": decision,
    }


def _print_chain(chain: Sequence[Link], *, first: bool = True) -> None:
    for number, link in enumerate(chain):
        seq, time, envelope = link.told
        begins = first and not number
        how = f" ({link.how})" if link.how else ""
        actor = envelope.source.partition("#")[0]
        click.echo(
            f"{'' if begins else '└ '}{clock(time)} {seq} {entity_name(envelope)} {short_type(envelope.event)}"
            f" by {actor}{how}: {one_line(told(envelope.event), _WIDTH)}".rstrip(": ")
        )
