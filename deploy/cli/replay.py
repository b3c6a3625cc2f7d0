"""`callboard replay`."""

import click

from callboard.deploy.cli.options import Where, as_json, where


@click.command()
@click.option("--until", metavar="SEQ|TIME", help="A log sequence, a time (UTC, or with its zone), or as '2h ago'.")
@click.option("--projection", metavar="NAME", help="The whole state of one projection then.")
@click.option("--entity", metavar="KIND/ID", help="One entity then, as task/ID or agent/NAME, and its next event.")
@click.option("--diff", metavar="live|SEQ|TIME", help="What differs: from the live state, or from another moment.")
@click.option("--follow", is_flag=True, help="Events, one a line, and then those that come; ends with --until.")
@click.option("--since", metavar="SEQ|TIME", help="With --follow: only events after this.")
@click.option("--speed", metavar="X|max", help="With --follow: as fast as it was, times X.  [default: max]")
@click.option("--kind", metavar="KIND", multiple=True, help="With --follow: only entities of this kind, as task.")
@click.option(
    "--what-if",
    "changes",
    metavar="KEY=VALUE[,…]",
    multiple=True,
    help="Decide again under other rules (policy, prices, budget, pace, without); several are compared. "
    "Or handle agents' messages again by other code: agents=FILE[,baseline=FILE][,agent=NAME].",
)
@where
@as_json
def replay(
    until: str | None,
    projection: str | None,
    entity: str | None,
    diff: str | None,
    follow: bool,
    since: str | None,
    speed: str | None,
    kind: tuple[str, ...],
    changes: tuple[str, ...],
    where: Where,
    as_json: bool,
) -> None:
    """Rebuild what was true at any moment from the log alone; without further options, a summary of it.

    --diff live folds everything from the first event on, and compares it with the snapshots that are trusted in daily
    work: exit code 1 says that they differ. --diff with a moment compares that with --until.

    --json prints {seq, end, time, tasks {status: number}, cost {calls, cost, wasted}, backends, budgets, agents}; of a
    projection {projection, version, seq, end, time, state}; of an entity {entity, seq, end, time, version, state, last
    {seq, time, event, told}, next}; of a difference {from, to, compared {projection: seq}, differences [{path, change,
    before, after}]}; of a what-if a list of {what_if, …}, or of each message of agents {agent, message, seq, observed,
    baseline, candidate}; when following, on each line {seq, time, entity, event, type, id, source, version, told,
    data}.
    """
    from callboard.deploy.cli.session import run

    chosen = [name for name, given in (("projection", projection), ("entity", entity), ("what-if", changes)) if given]
    if follow:
        chosen = ["follow", *(name for name in chosen if name != "entity")]
    if len(chosen) > 1:
        raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} don't go together")
    if diff and (entity or follow or changes):
        raise click.UsageError("--diff compares projections: leave the rest out, or name one with --projection")
    if not follow and (since or speed or kind):
        raise click.UsageError("--since, --speed and --kind are for --follow")
    if changes:
        run(_what_if(until, changes, where, as_json=as_json))
    elif follow:
        from callboard.deploy.cli.replay_follow import follow_log, pace

        run(follow_log(since, until, entity, kind, pace(speed), where, as_json=as_json))
    elif diff:
        from callboard.deploy.cli.replay_diff import compare

        found = run(compare(diff, until, projection, where, as_json=as_json))
        if found and diff == "live":
            raise click.exceptions.Exit(1)
    else:
        run(_state(until, projection, entity, where, as_json=as_json))


async def _state(until: str | None, projection: str | None, entity: str | None, where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli import replay_state
    from callboard.deploy.cli.moment import moment_of
    from callboard.deploy.cli.session import board_at

    async with board_at(where) as place:
        moment = await moment_of(place.bus.log, until)
        if entity:
            await replay_state.show_entity(place, moment, entity, as_json=as_json)
        elif projection:
            await replay_state.show_projection(place, moment, projection, as_json=as_json)
        else:
            await replay_state.show_summary(place, moment, as_json=as_json)


async def _what_if(until: str | None, changes: tuple[str, ...], where: Where, *, as_json: bool) -> None:
    from callboard.deploy.cli.modules import importable
    from callboard.deploy.cli.moment import moment_of
    from callboard.deploy.cli.rehearsals import asked, is_of_agents, rehearsals
    from callboard.deploy.cli.session import board_at

    async with board_at(where) as place:
        moment = await moment_of(place.bus.log, until)
        if is_of_agents(changes):
            importable(where.config)
            await rehearsals(place, asked(changes), until=moment.seq, as_json=as_json)
            return
        from callboard.deploy.cli.what_if import what_if

        await what_if(place, changes, where, until=moment.seq, as_json=as_json)
