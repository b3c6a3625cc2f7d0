"""Several logs as one: whoever submits tasks or sends messages need not know which cell holds what."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from callboard.actors.agents.messages import MessageHandle
from callboard.actors.board import Board
from callboard.actors.submission import id_from
from callboard.actors.task_handle import TaskHandle
from callboard.bus.errors import Unavailable
from callboard.deploy.cell_bus import CellBus
from callboard.deploy.settings import Settings
from callboard.deploy.settings_file import load
from callboard.events.agent_names import shard_of_named
from callboard.events.context_version import context_version
from callboard.events.errors import InvalidInput
from callboard.events.ids import shard_of
from callboard.events.shards import Shards


class Cells:
    """Boards of several cells, each opened when it is first needed. A cell that is down keeps none of the others."""

    def __init__(self, ways: Sequence[CellBus], source: str) -> None:
        self._ways = ways
        self._source = source
        self._boards: dict[CellBus, Board] = {}

    async def of(self, entity_id: str) -> Board:
        """The board of the cell that holds a task, an approval, a context, a schedule or an agent, by id or name.

        Raises Unavailable, naming the cell, when that one is down.
        """
        return await self._board(self._way(entity_id))

    async def boards(self) -> AsyncIterator[Board]:
        """The boards of all cells, for lists. Raises Unavailable after the last one if any cell is down."""
        down: list[str] = []
        for way in self._ways:
            try:
                board = await self._board(way)
            except Unavailable as error:
                down.append(str(error))
            else:
                yield board
        if down:
            raise Unavailable("; ".join(down))

    async def submit(self, input: Any = "", *, stream: bool = False, **fields: Any) -> TaskHandle:  # noqa: A002
        """Publish a task, as `Board.submit`: where its parent, its context or its key is, else in any cell that is up.

        Raises also Unavailable when the cell that it belongs to is down, or all are.
        """
        fields = at_home(fields, self._ways)
        home = home_of(fields)
        board = await self._any() if home is None else await self.of(home)
        return await board.submit(input, stream=stream, **fields)

    async def submit_many(self, inputs: Iterable[Any], **fields: Any) -> list[TaskHandle]:
        """`submit` each of ``inputs``, with the same other fields."""
        return await asyncio.gather(*(self.submit(each, **fields) for each in inputs))

    async def task(self, task_id: str) -> TaskHandle:
        """As `Board.task`, in the cell that holds it."""
        return await (await self.of(task_id)).task(task_id)

    async def send(self, agent: str, body: Any, **how: Any) -> MessageHandle:
        """As `Board.send`, to an agent in whichever cell."""
        return await (await self.of(agent)).send(agent, body, **how)

    async def aclose(self) -> None:
        """Close all connections. What was submitted goes on."""
        for board in self._boards.values():
            await board.aclose()
        for way in self._ways:
            await way.aclose()

    def _way(self, entity_id: str) -> CellBus:
        shard = shard_of_named(entity_id)
        return next(way for way in self._ways if shard in way.held)

    async def _board(self, way: CellBus) -> Board:
        bus = await way.bus()
        board = self._boards.get(way)
        if board is None or board.bus is not bus:
            board = self._boards[way] = Board(bus, self._source)
        return board

    async def _any(self) -> Board:
        """A cell that is up, drawn in proportion to the shards that each holds."""
        told: list[str] = []
        for way in by_lot(self._ways):
            try:
                return await self._board(way)
            except Unavailable as error:
                told.append(str(error))
        raise Unavailable(f"no cell is up: {'; '.join(told)}")


class Holder(Protocol):
    """What holds some of the shards."""

    @property
    def held(self) -> Shards:
        """Those that it holds."""
        ...


H = TypeVar("H", bound=Holder)


def by_lot(holders: Sequence[H]) -> Iterator[H]:
    """All of them, drawn in proportion to the shards that each holds."""
    left = [*holders]
    while left:
        drawn = random.choices(left, [len(each.held) for each in left])[0]
        left.remove(drawn)
        yield drawn


def home_of(fields: Mapping[str, Any]) -> str | None:
    """An id that says by its shard in which cell a task with such fields is to be; None for any."""
    given = {name: value for name, value in fields.items() if isinstance(value, str) and value}
    if "id" in given or "parent" in given:
        return given.get("id") or given["parent"]
    if "key" in given:
        return id_from("key", given["key"])
    return context_version(given["context"]).id if "context" in given else None


def at_home(fields: dict[str, Any], holders: Sequence[Holder]) -> dict[str, Any]:
    """The same, with an id where a key alone would have the task in another cell than the context that it reads."""
    key, context = fields.get("key"), fields.get("context")
    if not isinstance(key, str) or not isinstance(context, str) or fields.get("id") or fields.get("parent"):
        return fields
    owner = context_version(context).id
    shards = {shard_of(owner), shard_of(id_from("key", key))}
    if any(shards <= {*each.held} for each in holders):
        return fields
    return fields | {"id": id_from("key", key, owner=owner)}


@asynccontextmanager
async def cells(settings: Settings | Path | str | None = None) -> AsyncIterator[Cells]:
    """Open all cells of a log that is split: ``async with callboard.cells() as cells: ...``.

    Args:
        settings: with ``[[cells]]``, or the file with them; None: ``callboard.toml``. They say also how to come in, and
            where the master key is, if private data is read.

    Raises:
        InvalidSettings: the file can't be used.
        InvalidInput: it names no cells: use `connect`.
    """
    known = settings if isinstance(settings, Settings) else load(Path(settings) if settings else None)
    if not known.cells:
        raise InvalidInput("the settings have no [[cells]]: name them, or use callboard.connect() for a single log")
    source = f"client#{secrets.token_hex(4)}"
    opened = Cells([CellBus(cell, known, name=f"callboard-{source}") for cell in known.cells], source)
    try:
        yield opened
    finally:
        await opened.aclose()
