"""The shell's clock and dice: what the pure code is given from outside."""

import os
import time
from datetime import UTC, datetime

from callboard.events.ids import entity_id, shard_of, uuid7
from callboard.events.shards import ALL, Shards


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def new_event_id() -> str:
    """An id for an event that nothing caused but a person or the outside world."""
    return uuid7(time.time_ns(), os.urandom(10))


def new_entity_id(owner: str | None = None, shards: Shards = ALL) -> str:
    """An id for a new entity, in its owner's shard or, without one, in any of ``shards``."""
    entropy = os.urandom(12)
    shard = shard_of(owner) if owner else shards.draw(int.from_bytes(entropy[10:], "big"))
    return entity_id(shard, time.time_ns(), entropy)
