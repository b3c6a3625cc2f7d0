"""Ids: what they look like, which shard they belong to, how a redelivery repeats them.

An id is a NATS subject token, so it may hold only ``[A-Za-z0-9_-]{1,64}``. A generated id begins with the
two hex digits of its shard (``2f-01K…``): the id alone finds its subject. An id chosen by a person
(``deepseek``) is hashed instead.
"""

import re
from hashlib import sha256
from typing import Final

from callboard.events.errors import InvalidId

SHARDS: Final = 64
"""Number of shards, fixed for the life of a log: the unit of single activation and of splitting streams."""

_VALID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHARDED = re.compile(r"([0-9a-f]{2})-.+")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def checked_id(value: str, what: str = "id") -> str:
    """Return ``value`` if it can be a subject token, else raise InvalidId naming ``what``."""
    if not _VALID.fullmatch(value):
        shown = value if len(value) <= 80 else value[:77] + "..."
        raise InvalidId(f"{what} {shown!r} is not valid: use 1 to 64 of A-Z a-z 0-9 _ - (no dots, spaces, * or >)")
    return value


def shard_of(entity_id: str) -> int:
    """The shard (0 to 63) of an entity: read off a generated id, hashed from any other."""
    match = _SHARDED.fullmatch(entity_id)
    if match and (shard := int(match[1], 16)) < SHARDS:
        return shard
    return int.from_bytes(sha256(entity_id.encode()).digest()[:4], "big") % SHARDS


def uuid7(time_ns: int, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562) from a wall-clock time and at least 10 random bytes."""
    value = (time_ns // 1_000_000) << 80 | int.from_bytes(entropy[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def entity_id(shard: int, time_ns: int, entropy: bytes) -> str:
    """A new entity id that sorts by time within its shard: ``2f-`` and 26 Crockford base-32 digits."""
    value = (time_ns // 1_000_000) << 80 | int.from_bytes(entropy[:10], "big")
    digits = [_CROCKFORD[value >> 5 * place & 31] for place in range(25, -1, -1)]
    return f"{shard:02x}-{''.join(digits)}"


def derived_id(*parts: str | int) -> str:
    """A UUID-shaped id that depends on ``parts`` alone (RFC 9562, version 8)."""
    digest = sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
