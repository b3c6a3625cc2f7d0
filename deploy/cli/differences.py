"""What differs between two states, by path. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from callboard.events.persistent import encode_map

_MISSING: Final = object()


class Difference(Struct, frozen=True, omit_defaults=False):
    """What is at ``path`` on either side; ``change`` is ``added``, ``removed`` or ``changed``."""

    path: str
    change: str
    before: Any = None
    after: Any = None


def differences(before: Any, after: Any, path: str = "") -> list[Difference]:
    """All differences of two values as JSON has them, the deepest paths that tell them, in order."""
    if before is after:
        return []
    one, other = _json(before), _json(after)
    return [] if one == other else [*_between(msgspec.json.decode(one), msgspec.json.decode(other), path)]


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=encode_map, order="deterministic")


def _between(before: Any, after: Any, path: str) -> Iterator[Difference]:
    if before is _MISSING:
        yield Difference(path, "added", None, after)
    elif after is _MISSING:
        yield Difference(path, "removed", before, None)
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            below = f"{path}.{key}" if path else key
            yield from _between(before.get(key, _MISSING), after.get(key, _MISSING), below)
    elif isinstance(before, list) and isinstance(after, list):
        for number in range(max(len(before), len(after))):
            here = before[number] if number < len(before) else _MISSING
            there = after[number] if number < len(after) else _MISSING
            yield from _between(here, there, f"{path}[{number}]")
    elif before != after or type(before) is not type(after):
        yield Difference(path, "changed", before, after)
