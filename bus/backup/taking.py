"""Taking a backup of a live system.

The streams are copied one after another, while work goes on. Each copy is of one moment, but not all are of the same;
so the order is what makes them fit:

1. How far the durable queues of the log have come. What they did by then is in the log by then, so after a restore
   nothing is left undone that the log says was begun; some is handed out again, which changes nothing.
2. SUBMISSIONS: what intake takes in later is in this copy and in that of the log, and is known by its id.
   TIMERS: made again from the log after a restore, where they differ. CHECKPOINTS: none signs more of the log than
   there will be. SNAPSHOTS: a cache; none is believed that the log does not bear out.
3. EVENTS, the log: its first messages up to one of them.
4. BLOBS and KEYS: a value, and the key of a person, is stored before the event that needs it. A person who was
   forgotten while this went on has no key here, and is forgotten in the copy too.

From EVENTS and BLOBS nothing may be taken away while they are copied: a task would be there in part. If that happened,
since a purge was going on, they are copied again.
"""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from callboard.bus.api import Api
from callboard.bus.backup import manifest
from callboard.bus.backup.manifest import BadBackup, Copy, Manifest, Queue, Signed
from callboard.bus.backup.transfer import look, queues, take
from callboard.bus.checkpoints import JetStreamCheckpoints
from callboard.bus.errors import BusError, NotFound
from callboard.bus.streams import BLOBS, CHECKPOINTS, EVENTS, KEYS, SNAPSHOTS, SUBMISSIONS, TIMERS
from callboard.events.checkpoint import decode_checkpoint

ORDER: Final = (SUBMISSIONS, TIMERS, CHECKPOINTS, SNAPSHOTS, EVENTS, BLOBS, KEYS)
WHOLE: Final = frozenset({EVENTS, BLOBS, CHECKPOINTS})
"""Of these, copies hold exactly what their manifest says."""

SUFFIX: Final = ".snapshot"
_TRIES: Final = 3


async def back_up(api: Api, folder: Path, *, version: str, without_keys: bool = False) -> Manifest:
    """Copy all streams into ``folder``, which must be empty or new.

    ``version`` is Callboard's. ``without_keys`` leaves the keys of persons out.

    Raises:
        BadBackup: the folder can't be used, or the log was purged all the time.
        BusError: a stream can't be read.
    """
    manifest.prepare(folder)
    began = datetime.now(UTC)
    positions = [Queue(config["durable_name"], done, config) for config, done in await queues(api, EVENTS)]
    newest = await JetStreamCheckpoints(api).last()
    signed = decode_checkpoint(newest.data) if newest else None
    try:
        wanted = [stream for stream in ORDER if not (without_keys and stream == KEYS)]
        copies = [await _copy(api, folder, stream) for stream in wanted]
        made = Manifest(
            format=manifest.FORMAT,
            callboard=version,
            nats_server=api.wire.server_version,
            began=began,
            ended=datetime.now(UTC),
            purged=next(each.state.gone for each in copies if each.stream == EVENTS),
            checkpoint=Signed(signed.size, signed.root) if signed else None,
            streams=tuple(copies),
            queues=tuple(sorted(positions, key=lambda queue: queue.name)),
        )
        manifest.write(folder, made)
    except OSError as error:
        raise BadBackup(f"{folder}: can't be written to: {error.strerror}: what is in it is no backup") from None
    return made


async def _copy(api: Api, folder: Path, stream: str) -> Copy:
    for _ in range(_TRIES):
        copy = await _copy_once(api, folder / f"{stream}{SUFFIX}", stream)
        if stream not in WHOLE:
            return copy
        after = await look(api, stream)
        if after and after.state.gone == copy.state.gone:
            return copy
    raise BadBackup(f"{stream}: {_TRIES} times messages were taken away while it was copied: try it after the purge")


async def _copy_once(api: Api, file: Path, stream: str) -> Copy:
    told, size = sha256(), 0
    with manifest.written(file) as add:

        def write(part: bytes) -> None:
            nonlocal size
            add(part)
            told.update(part)
            size += len(part)

        try:
            found = await take(api, stream, write)
        except NotFound:
            raise BusError(f"there is no stream {stream}: this server holds no log to back up") from None
    return Copy(stream, file.name, size, told.hexdigest(), found.config, found.state)
