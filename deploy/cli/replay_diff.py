"""`callboard replay --diff`: what differs between two moments, or between the log and the snapshots of it."""

from typing import Any

import click
import msgspec

from callboard.actors.moments import GROUPS, Group, projector_of
from callboard.actors.snapshots import ProjectionSnapshots, saved_now
from callboard.deploy.cli.differences import Difference, differences
from callboard.deploy.cli.moment import Moment, moment_of
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import one_line, print_json, working
from callboard.deploy.cli.replay_state import folded_to, projection_called
from callboard.deploy.cli.session import board_at
from callboard.deploy.connect import Place
from callboard.events.errors import InvalidInput
from callboard.projections.projection import Projection

_SHOWN = 200
_WIDTH = 60


async def compare(
    other: str, until: str | None, projection: str | None, where: Where, *, as_json: bool
) -> list[Difference]:
    """Print what differs, and return it. Raises InvalidInput."""
    async with board_at(where) as place:
        moment = await moment_of(place.bus.log, until)
        groups = GROUPS if projection is None else (projection_called(projection).group,)
        compared: dict[str, int] = {}
        found: list[Difference] = []
        before = None if other == "live" else await moment_of(place.bus.log, other, "--diff")
        if before is None and not place.alone and moment.seq == moment.end:
            await saved_now(place.bus)
            moment = await moment_of(place.bus.log, until)
        for group in groups:
            wanted = [each for each in group.projections if projection in {None, each.name}]
            states = await (_with_live(place, group, moment) if before is None else _with(place, group, before, moment))
            if states is not None:
                compared |= dict.fromkeys((each.name for each in wanted), states[2])
                found += [each for one in wanted for each in _differences(one, states[0], states[1])]
        if not compared:
            raise InvalidInput(
                f"no snapshot is there to compare with up to {moment.seq}: a node keeps one every 50,000 events and "
                "when it stops"
            )
    if as_json:
        start = "log" if before is None else before.seq
        end = "live" if before is None else moment.seq
        print_json({"from": start, "to": end, "compared": compared, "differences": found})
    else:
        _print(found, compared, before, moment)
    return found


async def _with_live(place: Place, group: Group, moment: Moment) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """What a group is by the log alone, what it is by the newest snapshot, and where both stand."""
    live = await ProjectionSnapshots(place.bus, group.snapshot).load(group.projections, moment.seq)
    if live is None:
        return None
    rebuilt = projector_of(place.bus, group, snapshots=False)
    with working(f"Folding {live.seq:,} messages"):
        await rebuilt.catch_up(live.seq)
    return {each.name: rebuilt.state(each) for each in group.projections}, live.states, live.seq


async def _with(
    place: Place, group: Group, before: Moment, after: Moment
) -> tuple[dict[str, Any], dict[str, Any], int]:
    one, other = [
        {each.name: projector.state(each) for each in group.projections}
        for projector in [await folded_to(place, group, moment.seq) for moment in (before, after)]
    ]
    return one, other, after.seq


def _differences(projection: Projection[Any], before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    return differences(before[projection.name], after[projection.name], projection.name)


def _print(found: list[Difference], compared: dict[str, int], before: Moment | None, moment: Moment) -> None:
    for each in found[:_SHOWN]:
        match each.change:
            case "added":
                click.echo(f"+ {each.path} = {_json(each.after)}")
            case "removed":
                click.echo(f"- {each.path} = {_json(each.before)}")
            case _:
                click.echo(f"~ {each.path}: {_json(each.before)} → {_json(each.after)}")
    if len(found) > _SHOWN:
        click.echo(f"… and {len(found) - _SHOWN} more: --json prints them all")
    if before is not None:
        click.echo(f"{len(found)} differences from {before.seq} to {moment.seq}")
        return
    where = ", ".join(f"{name} at {seq}" for name, seq in compared.items())
    told = "what the log says and what the snapshots say are the same" if not found else f"{len(found)} differences"
    click.echo(f"{told}: {where}")


def _json(value: Any) -> str:
    return one_line(msgspec.json.encode(value).decode(), _WIDTH)
