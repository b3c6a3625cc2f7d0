"""What most commands begin with: an open board, its projections caught up, the task that is meant."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from callboard.actors.claim_check import shown_text
from callboard.actors.projector import Projector
from callboard.bus.subjects import entity
from callboard.deploy import logs
from callboard.deploy.cli.cells import at, cells_of
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import warn, working
from callboard.deploy.connect import Place, opened
from callboard.deploy.nats_door import CLIENT
from callboard.events.envelope import Envelope
from callboard.events.errors import InvalidInput
from callboard.events.task import Status
from callboard.events.task_spec import Text
from callboard.projections.live import LIVE
from callboard.projections.tasks import TASKS, TaskRow

T = TypeVar("T")

_SHARD: Final = re.compile("[0-3][0-9a-f]-")
"""What a generated id begins with."""

SHORTEST: int = 4
"""Characters of an abbreviated task id, at least."""


class Session(NamedTuple):
    """An open board and what is true there now."""

    place: Place
    projector: Projector


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine, with warnings and worse on standard error."""
    logs.configure("warning")
    return asyncio.run(main)


@asynccontextmanager
async def board_at(
    where: Where, *, of: str | None = None, archive: Path | None = None, wanted: Sequence[str] = CLIENT
) -> AsyncIterator[Place]:
    """The board that the command line means, with another ``archive`` than it says. Raises NoNode or Unavailable.

    Of several cells it is the one that has the entity ``of`` that id. Of a folder of NATS keys the first of those
    ``wanted`` is taken.
    """
    where = at(where, of) if of is not None else where
    url, data = where.address()
    settings = where.settings()
    async with AsyncExitStack() as stack:
        with working("Connecting"):
            known = opened(
                url,
                data=data,
                archive=archive or where.archive(),
                privacy=settings.privacy,
                nats=settings.nats,
                wanted=wanted,
            )
            place = await stack.enter_async_context(known)
        yield place


@asynccontextmanager
async def session_at(where: Where) -> AsyncIterator[Session]:
    """The board with its projections at the end of the log."""
    async with board_at(where) as place:
        yield Session(place, await projections(place))


async def projections(place: Place) -> Projector:
    """Everything that is true now; all projections together, since their snapshots are only good together."""
    projector = Projector(place.bus, *LIVE)
    with working("Reading the log"):
        await projector.catch_up()
    return projector


@asynccontextmanager
async def found_at(where: Where, meant: str, find: Callable[[Place], Awaitable[T]]) -> AsyncIterator[tuple[Place, T]]:
    """The board where ``find`` finds what is meant, and what that is.

    Of several cells it is the one of the shard that ``meant`` begins with, else all are asked. Raises what ``find``
    raises, InvalidInput also when several cells have such, NoNode or Unavailable when one of those asked is down.
    """
    cells = cells_of(where)
    if not cells or _SHARD.match(meant):
        async with board_at(where, of=meant) as place:
            yield place, await find(place)
        return
    found: list[tuple[str, T]] = []
    missed: InvalidInput | None = None
    for cell in cells:
        async with board_at(where._replace(cell=cell.shards)) as place:
            try:
                found.append((cell.shards, await find(place)))
            except InvalidInput as error:
                missed = error
    found = [each for each in found if each[1] == meant] or found
    if len(found) > 1:
        raise InvalidInput(f"{meant!r} is in several cells ({', '.join(cell for cell, _ in found)}): write more of it")
    if not found:
        raise missed or InvalidInput(f"no {meant!r}")
    async with board_at(where._replace(cell=found[0][0])) as place:
        yield place, found[0][1]


@asynccontextmanager
async def task_at(where: Where, meant: str) -> AsyncIterator[tuple[Place, str]]:
    """The board with the task that is meant, and its id, see `task_id` and `found_at`."""

    async def find(place: Place) -> str:
        return await task_id(place, meant)

    async with found_at(where, meant, find) as found:
        yield found


async def task_id(place: Place, meant: str) -> str:
    """The id of the task that ``meant`` is the id, or a unique beginning or end of it. Raises InvalidInput."""
    if await place.bus.log.read(entity("task", meant)):
        return meant
    tasks = (await projections(place)).state(TASKS)
    return the_one(meant, [*tasks.open, *tasks.ended.keys()], "task", "callboard tasks")


def the_one(meant: str, known: Iterable[str], kind: str, command: str) -> str:
    """The id among ``known`` that ``meant`` is, or a unique beginning or end of.

    Raises InvalidInput when there is none, or several; ``command`` lists them.
    """
    part = meant.lower()
    ids = [*known] if len(part) >= SHORTEST else [each for each in known if each == meant]
    found = [each for each in ids if each.lower().startswith(part) or each.lower().endswith(part)]
    if meant in found:
        return meant
    if len(found) > 1:
        raise InvalidInput(f"{kind} {meant!r} could be {', '.join(sorted(found)[:4])}: write more of it")
    if not found:
        raise InvalidInput(f"no {kind} {meant!r}: see `{command}`")
    return found[0]


async def history_of(place: Place, task: str) -> list[Envelope]:
    """All events of the task with that id. Raises Undecodable."""
    records = await place.bus.log.read(entity("task", task))
    return [envelope for record in records for envelope in await place.bus.privacy.read(record.data)]


def dead_letters(projector: Projector) -> list[TaskRow]:
    """The rows of the dead letters, newest first."""
    rows = [row for row in projector.state(TASKS).ended.values() if row.status is Status.DEAD]
    return sorted(rows, key=lambda row: (row.ended or row.submitted, row.id), reverse=True)


def warn_if_alone(place: Place, what: str) -> None:
    """Say that nothing will come of it yet, when no node runs."""
    if place.alone:
        warn(f"no node runs here: {what} until `callboard up` runs")


async def whole_text(place: Place, text: Text) -> str:
    """The text, fetched if it lies in the blob store; a note in its place if it is forgotten."""
    return await shown_text(place.bus, text)
