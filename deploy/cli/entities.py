"""Which entity is meant by ``task/ID``, ``agent/NAME`` and the like."""

from typing import Any

from callboard.bus.aggregates import AGGREGATES, Aggregate
from callboard.bus.subjects import entity, parse
from callboard.deploy.cli.printing import working
from callboard.deploy.cli.session import SHORTEST, task_id, the_one
from callboard.deploy.connect import Place
from callboard.deploy.settings_values import did_you_mean
from callboard.events.agent_names import id_of, name_of
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

_LISTS = {
    "agent": "callboard agents",
    "approval": "callboard approvals --all",
    "backend": "callboard backends",
    "budget": "callboard budget",
    "context": "callboard context",
    "schedule": "callboard schedule",
}


def kind_of(name: str, option: str) -> Aggregate[Any]:
    """The kind of entities of this name. Raises InvalidInput, with a guess."""
    if name not in AGGREGATES:
        guess = did_you_mean(name, AGGREGATES)
        hint = f"did you mean {guess!r}?" if guess else f"known are {', '.join(AGGREGATES)}"
        raise InvalidInput(f"{option}: unknown kind {name!r}; {hint}")
    return AGGREGATES[name]


async def the_entity(place: Place, meant: str, option: str) -> tuple[Aggregate[Any], str]:
    """The kind and id that are meant; the id may be a unique beginning or end of one. Raises InvalidInput."""
    kind, slash, name = meant.partition("/")
    if not slash or not name:
        raise InvalidInput(f"{option} must be KIND/ID, as task/ID or agent/NAME, got {meant!r}")
    aggregate = kind_of(kind, option)
    if kind == "task":
        return aggregate, await task_id(place, name)
    found = id_of(name) if kind == "agent" else checked_id(name, kind)
    if not await place.bus.log.last(entity(kind, found)):
        found = await _guessed(place, kind, found)
    return aggregate, found


async def _guessed(place: Place, kind: str, meant: str) -> str:
    with working("Reading the log"):
        ids = {
            parse(record.subject).id: None
            async for batch in place.bus.log.read_all(f"evt.*.{kind}.>")
            for record in batch
        }
    close = did_you_mean(meant, ids)
    if close and not (len(meant) >= SHORTEST and any(meant.lower() in each.lower() for each in ids)):
        shown = name_of(close) if kind == "agent" else close
        raise InvalidInput(f"no {kind} {meant!r}; did you mean {shown!r}?")
    return the_one(meant, ids, kind, _LISTS[kind])
