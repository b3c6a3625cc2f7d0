"""Putting the archive under the log, wherever one may be: what was purged is read there."""

from pathlib import Path

import structlog

from callboard.bus.archive.archived_log import ArchivedLog
from callboard.bus.archive.folder import Archive
from callboard.bus.errors import Damaged
from callboard.bus.jetstream import JetStreamBus
from callboard.projections.closed import MAY_CLOSE

_log = structlog.get_logger(__name__)


async def go_back(bus: JetStreamBus, folder: Path | None, *, whole: bool = False) -> ArchivedLog | None:
    """Have the bus read what was purged from the archive in ``folder``, now or later; return the log that does.

    Returns None, after a warning, where no folder is known and something was purged, unless the log is needed
    ``whole``, or where the archive is damaged but nothing of it is needed.

    Raises:
        Damaged: the archive is not what was written, is of another log, or lacks what was purged, or is not known.
    """
    if folder is None:
        if gone := await bus.hot.missing():
            told = f"{gone:,} messages of the log lie in an archive that is not known here: name it under [archive]"
            if whole:
                raise Damaged(told)
            _log.warning(told)
        return None
    log = ArchivedLog(bus.hot, Archive(folder), purged=MAY_CLOSE)
    try:
        await log.check()
    except Damaged as error:
        if await bus.hot.missing():
            raise
        _log.error("the archive can't be used; nothing of it is needed, the log is whole", error=str(error))
        return None
    bus.log = log
    return log
