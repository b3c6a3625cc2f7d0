"""A restore, all of it: the streams, what the log has to be told, timers, and the audit."""

from typing import NamedTuple

from callboard.actors.auditor import Examine, audit
from callboard.actors.board import Board
from callboard.actors.rearming import rearm
from callboard.bus.backup.restoring import Plan
from callboard.bus.backup.transfer import State
from callboard.bus.jetstream import JetStreamBus
from callboard.bus.streams import KEYS
from callboard.projections.audit import Options, Report


class Restored(NamedTuple):
    """What each stream holds, who is ``forgotten``, of how much ``timers`` were set, what the audit found."""

    states: dict[str, State]
    forgotten: tuple[str, ...]
    timers: int
    report: Report | None


async def restore(
    bus: JetStreamBus, planned: Plan, options: Options | None = None, archive: Examine | None = None
) -> Restored:
    """Restore a backup, and audit the log with ``options``, if there are any.

    Keys of persons are copied after the log, or are those of a later backup: whose key is gone by then was forgotten
    meanwhile, and the log is told so.

    Raises as `callboard.bus.backup.restoring.restore`.
    """
    states = await bus.restore(planned)
    forgotten = tuple(await bus.privacy.keyring.lost()) if KEYS in states else ()
    board = Board(bus, "restore")
    for person in forgotten:
        await board.forget(person, by="restore", reason="the key is not in the backup: it was destroyed before")
    timers = await rearm(bus)
    report = await audit(bus, options, archive=archive) if options else None
    return Restored(states, forgotten, timers, report)
