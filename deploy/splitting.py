"""Splitting a log, all of it: what is of other shards leaves this one, which was copied to another server before.

Whatever step it dies at, run again it finishes: the metadata of the log says that it was begun, and how far it is.
"""

import asyncio
from typing import Final, NamedTuple

from callboard.actors.archiver import Archiver
from callboard.actors.contexts import contexts_on
from callboard.actors.rearming import rearm
from callboard.actors.splitting import check_uncut, divide, is_ours, settle
from callboard.bus import splitting
from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.cell import Cell
from callboard.bus.errors import BusError
from callboard.bus.jetstream import JetStreamBus
from callboard.events.context import Put
from callboard.events.shards import Shards

SOURCE: Final = "split"

GONE_S: Final = 3.0
"""So long the server may take to notice that a node that was killed is gone."""


class Split(NamedTuple):
    """What it came to: the log holds ``shards``, ``messages`` of others have left it, and ``submissions`` that waited.

    ``budgets`` have their share, and the ``timers`` of so much are set again.
    """

    shards: Shards
    messages: int = 0
    submissions: int = 0
    budgets: int = 0
    timers: int = 0


async def check(bus: JetStreamBus, keep: Shards) -> None:
    """Raise BusError while a node works on the log, and InvalidInput for shards that it can't be split into."""
    deadline = asyncio.get_running_loop().time() + GONE_S
    while queues := await splitting.busy(bus.api):
        if asyncio.get_running_loop().time() > deadline:
            raise BusError(f"a node works on this log: it takes from the queue {queues[0]}: stop all nodes first")
        await asyncio.sleep(0.1)
    splitting.check(bus.cell, keep)
    if not bus.cell.begun:
        await check_uncut(bus, keep)


async def split(bus: JetStreamBus, keep: Shards) -> Split:
    """Take away from the log all that is not of ``keep``. `check` it first.

    Its archive, if it has one, gets all of the log before: later messages go on there.
    """
    begun = await splitting.begin(bus.api, bus.hot, keep)
    if begun.begun is None:
        return Split(keep)
    noted, budgets = begun, 0
    if not begun.noted:
        budgets = await divide(bus, begun.begun.held, keep, begun.begun.seq)
        if isinstance(bus.log, ArchivedLog) and bus.log.archive.segments:
            await Archiver(bus.log).archive(at_least=1, rest=0)
        noted = await splitting.note(bus.api, bus.hot, bus.blobs, begun)
    await bus.look_again()
    await splitting.drop(bus.api, bus.hot, noted)
    submissions = await splitting.drop_submissions(bus.api, lambda *waiting: is_ours(keep, *waiting))
    timers = await rearm(bus)
    await settle(bus)
    await _say(bus, noted)
    await splitting.end(bus.api, noted)
    await bus.look_again()
    return Split(keep, len(await bus.hot.away()), submissions, budgets, timers)


async def _say(bus: JetStreamBus, noted: Cell) -> None:
    """Have the log tell of it, in a context: it ends with a message that is there, for whoever reads up to its end."""
    name = f"{next(iter(noted.shards)):02x}-callboard-split"
    told = Put("split", {"kept": str(noted.shards), "at": noted.split})
    await contexts_on(bus, SOURCE).change(name, told, by=SOURCE)
