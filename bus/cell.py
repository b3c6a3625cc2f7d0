"""Which shards a log holds, and what was split away from it: kept as metadata of its stream, which backups have too."""

from typing import Final, NamedTuple

from callboard.bus.api import Answer, Api, refusal
from callboard.bus.errors import BusError
from callboard.bus.log import Blobs
from callboard.bus.stream_names import EVENTS
from callboard.bus.streams import info
from callboard.events.away import Away
from callboard.events.shards import ALL, Shards

SHARDS: Final = "callboard-shards"
"""As ``0-31``; absent: all."""

SPLITS: Final = "callboard-split"
"""Of each split the log's last sequence then, and the hash of the blob that says what went: ``120:ab…,340:cd…``."""

BEGUN: Final = "callboard-splitting"
"""While it is split: the shards that it held before, its last sequence then, and its splits, as ``0-63@120@0``."""


class Begun(NamedTuple):
    """A split that is not done yet: what was ``held`` before, the last sequence then, and how many ``splits``."""

    held: Shards
    seq: int
    splits: int


class Cell(NamedTuple):
    """What the metadata says: the ``splits`` as (sequence, hash of the blob), the oldest first."""

    shards: Shards = ALL
    splits: tuple[tuple[int, str], ...] = ()
    begun: Begun | None = None

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away; 0 if none ever were."""
        return self.splits[-1][0] if self.splits else 0

    @property
    def noted(self) -> bool:
        """Whether it is noted what the split that was begun takes away."""
        return self.begun is not None and len(self.splits) > self.begun.splits


async def read(api: Api) -> Cell:
    """What the log's metadata says; that it is whole where our key may not look. Raises BusError."""
    if not api.may(f"STREAM.INFO.{EVENTS}"):
        return Cell()
    told = (await info(api, EVENTS)).config.get("metadata", {})
    splits = (each.split(":") for each in told.get(SPLITS, "").split(",") if each)
    held, seq, before = told[BEGUN].split("@") if BEGUN in told else ("", "", "")
    return Cell(
        Shards.parse(told[SHARDS]) if SHARDS in told else ALL,
        tuple((int(at), digest) for at, digest in splits),
        Begun(Shards.parse(held), int(seq), int(before)) if held else None,
    )


async def write(api: Api, cell: Cell) -> None:
    """Have the metadata say so; other metadata stays. Raises BusError."""
    config = (await info(api, EVENTS)).config
    told = {key: value for key, value in config.get("metadata", {}).items() if key not in {SHARDS, SPLITS, BEGUN}}
    told[SHARDS] = str(cell.shards)
    if cell.splits:
        told[SPLITS] = ",".join(f"{seq}:{digest}" for seq, digest in cell.splits)
    if cell.begun:
        told[BEGUN] = f"{cell.begun.held}@{cell.begun.seq}@{cell.begun.splits}"
    changed = await api.call(f"STREAM.UPDATE.{EVENTS}", config | {"metadata": told}, Answer)
    if changed.error:
        raise refusal(changed.error, f"stream {EVENTS} can't be told which shards it holds")


def check_whole(cell: Cell) -> None:
    """Raise BusError when a split was begun, and is not done."""
    if cell.begun:
        raise BusError(f"this log is half split: run `callboard split --keep {cell.shards}` again, which finishes it")


async def away(blobs: Blobs, cell: Cell) -> Away:
    """What was split away. Raises NotFound when that is lost."""
    return Away.load(*[await blobs.get(digest) for _, digest in cell.splits])
