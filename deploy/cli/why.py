"""`callboard why`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.argument("what", metavar="TASK|EVENT|KIND/ID")
@where
@as_json
def why(what: str, where: Where, as_json: bool) -> None:
    """Explain why a task went where it went, or what led to an event.

    Of a TASK, each routing decision: what was known, who could have done it, at what prices, and how it turned out; and
    who asked for it. Of an EVENT, by its sequence in the log or its id, all that led to it, from the first event on,
    with each decision on the way. Of agent/NAME its last decision, of a backend (NAME, or backend/NAME) why it has as
    many replicas as it has, of approval/ID, budget/NAME and the like the last event, of a budget the last time that it
    did not suffice.

    --json prints of a task {task, context, assignments [{time, version, attempt, backend, check, hedges, policy,
    reason, seen, seed, propensity, candidates [{backend, cost, latency, quality, excluded, cached}], prices {backend:
    {input, output, cached, steps}}, predicted {cost, latency, tokens}, actual {cost, latency, calls [state]}, hold
    {budget, amount, input, output, lease}}], refusals [{time, version, event, reason}], chain}; hedges is the late call
    beside which another backend was asked, or null; seen is the log position, propensity in parts per million. Of an
    event it prints {entity, seq, chain [{seq, time, entity, event, id, source, how, told, decision}], budget, scaling
    {demand, again}}, from the first event on; how is how it followed from the one before, decision is as one of the
    assignments, or null, budget the state of the budget then that the event is of, or null; scaling is what was seen of
    a backend that was scaled by its load, and whether the same would be decided again, or null.
    """
    from callboard.deploy.cli.session import run

    run(_why(what, where, as_json=as_json))


async def _why(what: str, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli import explaining
    from callboard.deploy.cli.causes import Causes
    from callboard.deploy.cli.cells import at, cells_of, in_one
    from callboard.deploy.cli.finding import EVENT_ID, event_at, event_called
    from callboard.deploy.cli.session import SHORTEST, board_at, task_at, task_id
    from callboard.events.errors import InvalidInput
    from callboard.events.shards import SPREAD

    if cells_of(where) and "/" not in what and not what.isdecimal() and not EVENT_ID.fullmatch(what):
        async with task_at(where, what) as (place, found):
            await explaining.task(place, found, as_json=as_json)
        return
    kind, _, name = what.partition("/")
    async with board_at(at(where, name) if name and kind in SPREAD else in_one(where)) as place:
        log = place.bus.log
        if "/" in what:
            await explaining.entity(place, what, as_json=as_json)
            return
        if what.isdecimal():
            await explaining.event(place, await event_at(log, int(what)), as_json=as_json)
            return
        named = bool(EVENT_ID.fullmatch(what))
        try:
            if named:
                raise InvalidInput(f"no event {what!r}: `callboard replay --follow --json` tells the ids of all")
            found = await task_id(place, what)
        except InvalidInput as error:
            part = named or (len(what) > SHORTEST and set(what) <= set("0123456789abcdef-"))
            told = await event_called(log, what) if part else None
            if told is None and not named and await Causes(place.bus).history("backend", what):
                await explaining.entity(place, f"backend/{what}", as_json=as_json)
                return
            if told is None:
                raise error from None
            await explaining.event(place, told, as_json=as_json)
        else:
            await explaining.task(place, found, as_json=as_json)
