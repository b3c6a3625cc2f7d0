"""Making all streams from a backup, on a server that holds none."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from callboard.bus.api import Api
from callboard.bus.backup import manifest
from callboard.bus.backup.manifest import BadBackup, Copy, Manifest
from callboard.bus.backup.taking import ORDER, WHOLE
from callboard.bus.backup.transfer import IN_PARTS_OF, State, give, look, move_to, remove
from callboard.bus.errors import BusError
from callboard.bus.streams import EVENTS, KEYS

COPIES: Final = 1
"""Of each message, at first: a node that is set to more has the streams copied when it starts."""


class NotEmpty(BusError):
    """The server holds streams already, and nothing is written over."""


class Plan(NamedTuple):
    """What is restored: the backup, and from which folder each stream."""

    manifest: Manifest
    sources: Mapping[str, tuple[Path, Copy]]


def plan(folder: Path, *, keys: Path | None = None, without_keys: bool = False) -> Plan:
    """Read and check the backup in ``folder``, with the keys of persons from the later one in ``keys``, or none.

    Raises:
        BadBackup: it is not whole, or not what was written; or it is not said what to do about keys.
    """
    made = manifest.read(folder)
    sources = {copy.stream: (folder, copy) for copy in made.streams if copy.stream != KEYS}
    if missing := [stream for stream in ORDER if stream not in {*sources, KEYS}]:
        raise BadBackup(f"{folder / manifest.MANIFEST}: it names no copy of {missing[0]}")
    if not without_keys:
        sources[KEYS] = _keys(folder, made, keys)
    for where, copy in sources.values():
        manifest.check(where, copy)
    return Plan(made, sources)


async def restore(api: Api, planned: Plan) -> dict[str, State]:
    """Make the streams and the queues of a plan, and return what the streams hold now.

    What was made is taken away again if it can't be finished. Raises NotEmpty, BadBackup, BusError.
    """
    await _check_empty(api)
    begun: list[str] = []
    try:
        states: dict[str, State] = {}
        for stream in ORDER:
            if stream in planned.sources:
                begun.append(stream)
                states[stream] = await _make(api, *planned.sources[stream])
        for queue in planned.manifest.queues:
            await move_to(api, EVENTS, queue.config, min(queue.done, states[EVENTS].last_seq))
    except BaseException:
        with suppress(BusError):  # what went wrong is told, not what came of it
            for stream in begun:
                await remove(api, stream)
        raise
    return states


def _keys(folder: Path, made: Manifest, other: Path | None) -> tuple[Path, Copy]:
    where, held = (other, manifest.read(other)) if other else (folder, made)
    if held.began < made.began:
        raise BadBackup(f"{where} is older than {folder}: keys of persons that came later are not in it")
    copy = held.of(KEYS)
    if copy is None or not (where / copy.file).exists():
        raise BadBackup(
            f"{where} holds no keys of persons: give --keys and a later backup that does, or --without-keys: then "
            "nobody can read what is private"
        )
    return where, copy


async def _check_empty(api: Api) -> None:
    there = {stream: found for stream in ORDER if (found := await look(api, stream))}
    for stream, found in there.items():
        if found.state.last_seq or found.state.consumer_count:
            raise NotEmpty(
                f"the stream {stream} is in use there, and nothing is written over: restore into a folder or a server "
                "that holds no log, before a node is started"
            )
    for stream in there:
        await remove(api, stream)


async def _make(api: Api, folder: Path, copy: Copy) -> State:
    parts = manifest.parts(folder / copy.file, IN_PARTS_OF)
    made = await give(api, copy.config | {"num_replicas": COPIES}, copy.state, parts)
    same = made.state.messages == copy.state.messages or copy.stream not in WHOLE
    if not same or made.state.last_seq != copy.state.last_seq:
        raise BadBackup(
            f"{copy.stream}: {made.state.messages:,} messages up to {made.state.last_seq} were restored, the backup "
            f"was of {copy.state.messages:,} up to {copy.state.last_seq}"
        )
    return made.state
