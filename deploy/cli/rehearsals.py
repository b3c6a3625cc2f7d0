"""What `callboard replay --what-if agents=FILE` prints: the three lanes of each message."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from callboard.actors.agents.definition import Definition
    from callboard.actors.rehearsal.lanes import Rehearsed
    from callboard.actors.rehearsal.rehearsal import Lane
    from callboard.deploy.connect import Place

SHOWN = 30
KEYS = ("agents", "baseline", "agent")


class Asked(NamedTuple):
    """The files with the code to rehearse, and with what handled the messages then; the name of the only agent."""

    candidate: Path
    baseline: Path | None = None
    agent: str | None = None


def is_of_agents(given: Sequence[str]) -> bool:
    """Whether what-ifs are about the code of agents, not about decisions."""
    return any(part.partition("=")[0].strip() in KEYS for each in given for part in each.split(","))


def asked(given: Sequence[str]) -> Asked:
    """What is asked for by ``agents=FILE[,baseline=FILE][,agent=NAME]``. Raises InvalidInput."""
    from callboard.actors.strict_json import did_you_mean
    from callboard.events.errors import InvalidInput

    form = "--what-if agents=FILE[,baseline=FILE][,agent=NAME]"
    if len(given) > 1:
        raise InvalidInput(f"{form} stands alone: agents are rehearsed by the code of one file at a time")
    said: dict[str, str] = {}
    for part in given[0].split(","):
        key, equals, value = part.strip().partition("=")
        if key not in KEYS:
            raise InvalidInput(f"--what-if {part}: unknown {key!r}{did_you_mean(key, KEYS)}; write {form}")
        if not equals or not value or key in said:
            raise InvalidInput(f"--what-if {part}: write {form}")
        said[key] = value
    if "agents" not in said:
        raise InvalidInput(f"--what-if {given[0]}: write {form}")
    return Asked(Path(said["agents"]), Path(said["baseline"]) if "baseline" in said else None, said.get("agent"))


async def rehearsals(place: "Place", meant: Asked, *, until: int, as_json: bool) -> None:
    """Rehearse what the log has of the agents that a file defines, up to a sequence, and print what comes of it.

    Raises InvalidInput: a file defines no agents, or none of that name.
    """
    from callboard.actors.rehearsal.lanes import lanes
    from callboard.deploy.cli.printing import print_json, working
    from callboard.events.agent_names import definition_of, id_of
    from callboard.events.errors import InvalidInput

    candidate, baseline, agent = meant
    now, then = _load(candidate), _load(baseline) if baseline else []
    agent_id = id_of(agent) if agent else None
    if agent_id and definition_of(agent_id) not in {each.name for each in now}:
        names = ", ".join(each.name for each in now)
        raise InvalidInput(f"{candidate.name} defines no agent {definition_of(agent_id)!r}: there are {names}")
    with working("Rehearsing"):
        found = [each async for each in lanes(place.bus, now, then, agent=agent_id, upto=until)]
    if as_json:
        print_json([_document(each) for each in found])
    elif found:
        _print(found, candidate)
    else:
        whose = agent or ", ".join(each.name for each in now)
        click.echo(f"no message to rehearse: the log has none that {whose} was done with")


def _load(file: Path) -> "list[Definition]":
    """What a file defines. It is read under guard, too."""
    from callboard.actors.rehearsal.guard import guarded
    from callboard.deploy.agents_file import load

    with guarded():
        return load(file).definitions


def _document(each: "Rehearsed") -> dict[str, Any]:
    from callboard.events.agent_names import name_of
    from callboard.events.agent_step import Step

    message, steps = each.message, each.message.work.steps
    places = sorted(steps, key=lambda name: (steps[name].at, steps[name].number))
    done = [name for name in places if steps.get(name, Step()).done]
    return {
        "agent": name_of(message.agent),
        "message": message.end.message,
        "seq": message.last,
        "observed": {"steps": done, "cost": each.cost, "failure": message.end.failure},
        "baseline": _lane(each.baseline) if each.baseline else None,
        "candidate": _lane(each.candidate),
    }


def _lane(lane: "Lane") -> dict[str, Any]:
    return {
        "end": lane.end,
        "used": lane.used,
        "unused": lane.unused,
        "cost": lane.cost,
        "answer": lane.answer,
        "failure": lane.failure,
        "divergence": lane.divergence,
    }


def _print(found: "Sequence[Rehearsed]", candidate: Path) -> None:
    from callboard.deploy.cli.printing import one_line, print_table, usd
    from callboard.events.agent_names import name_of

    told = any(each.baseline for each in found)
    print_table(
        ("agent", "message", "steps", "cost", "ended", *(("baseline",) if told else ()), candidate.name),
        (
            (
                name_of(each.message.agent),
                each.message.end.message,
                str(sum(step.done for step in each.message.work.steps.values())),
                usd(each.cost) if each.cost else "",
                one_line(each.message.end.failure.message, 40) if each.message.end.failure else "answered",
                *((_told(each.baseline),) if told else ()),
                _told(each.candidate),
            )
            for each in found[:SHOWN]
        ),
        right=("steps", "cost"),
    )
    if len(found) > SHOWN:
        click.echo(f"{SHOWN} of {len(found)} shown: --json has all")
    click.echo("")
    if told:
        _sum_up("baseline", [each.baseline for each in found if each.baseline])
    _sum_up(candidate.name, [each.candidate for each in found])
    spared = sum(each.cost - each.candidate.cost for each in found if each.candidate.end != "diverged")
    if spared:
        click.echo(f"  it spares model calls of {usd(spared)} in messages that it is done with")


def _told(lane: "Lane | None") -> str:
    from callboard.deploy.cli.printing import one_line

    if lane is None:
        return "no code for it"
    if lane.divergence:
        step = f"step {lane.divergence.step!r} " if lane.divergence.step else ""
        return one_line(f"after {len(lane.used)} steps: {step}{lane.divergence.why}", 160)
    if lane.end == "same":
        return "the same"
    return one_line(f"other end: {lane.failure.message if lane.failure else lane.answer}", 160)


def _sum_up(name: str, ran: "Sequence[Lane]") -> None:
    ends = Counter(lane.end for lane in ran)
    click.echo(
        f"{name}: of {len(ran)} messages {ends['same']} end the same, {ends['other']} otherwise by the same answers, "
        f"and {ends['diverged']} leave the record"
    )
    parted = Counter(f"step {lane.divergence.step!r}" for lane in ran if lane.divergence and lane.divergence.step)
    for step, number in parted.most_common(5):
        click.echo(f"  {number} at {step}")
