"""What may be appended at all, checked before anything is sent."""

import re
from collections.abc import Sequence
from typing import Final

from callboard.bus.errors import BATCH_TOO_LARGE, MESSAGE_TOO_LARGE, TooLarge
from callboard.bus.log import Write
from callboard.bus.subjects import entity_of
from callboard.events.errors import InvalidInput
from callboard.events.shards import ALL, Shards

MAX_MESSAGE: Final = 256 * 1024
MAX_BATCH: Final = 1000
MAX_SUBMISSION: Final = 8 * 1024 * 1024
"""Bytes of a submission, headers and all; the embedded server takes no larger messages."""


_LITERAL = re.compile(r"evt(\.[^.\s*>]+){4,}")


def check(write: Write, shards: Shards = ALL) -> None:
    """Raise InvalidInput for what is no event's subject, TooLarge for more than 256 KiB.

    Raises Elsewhere for what is not for the log that holds these ``shards``.
    """
    if not _LITERAL.fullmatch(write.subject):
        raise InvalidInput(f"{write.subject!r} is no event's subject: evt.<shard>.<kind>.<id>.<type> is")
    if len(write.data) > MAX_MESSAGE:
        raise TooLarge(
            f"{write.subject}: {len(write.data)} bytes, {MAX_MESSAGE} is the most: put the value in a blob",
            MESSAGE_TOO_LARGE,
        )
    if shards is not ALL:
        _, _, kind, entity_id, event_type = write.subject.split(".", 5)[:5]
        shards.check(kind, entity_id, defined=event_type == "defined")


def check_batch(writes: Sequence[Write], shards: Shards = ALL) -> None:
    """Check each write, and that they're at most 1,000 and for as many entities."""
    if len(writes) > MAX_BATCH:
        raise TooLarge(f"a batch of {len(writes)} messages: split it, {MAX_BATCH} is the most", BATCH_TOO_LARGE)
    seen: set[str] = set()
    for write in writes:
        check(write, shards)
        entity = entity_of(write.subject)
        if entity in seen:
            raise InvalidInput(f"two messages for {entity} in one batch: put both events in one message")
        seen.add(entity)
