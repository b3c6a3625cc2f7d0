"""Any state, shown to a person: without what is as it always begins, and long lists cut short."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Struct

from callboard.deploy.cli.printing import clock, one_line, took, usd

LONGEST: Final = 20
"""So many entries of a map or a list are shown."""

_WIDTH: Final = 160
_MONEY: Final = {
    *("cost", "max_cost", "wasted", "limit", "settled", "held", "left", "amount", "needed", "kept", "assumed"),
    *("realised", "outstanding"),
}
_TIME: Final = {"duration", "latency", "first_token", "waited", "timeout", "service"}


def lines(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """``value`` in lines, each ``name: value``, what is inside of another one further to the right."""
    indent = "  " * depth
    head = f"{indent}{name}:" if name else ""
    parts = _parts(value)
    if parts is None:
        yield f"{head} {_plain(value, name)}"
        return
    if not parts:
        yield f"{head} -" if head else "-"
        return
    if head and (flat := _flat(parts)) is not None:
        yield f"{head} {flat}"
        return
    if head:
        yield head
    for number, (key, item) in enumerate(parts):
        if number == LONGEST and not isinstance(value, Struct):
            yield f"{indent}  … and {len(parts) - LONGEST} more: --json prints them all"
            return
        yield from lines(item, key, depth + bool(head))


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """What a value consists of, None if it is to be shown as it is."""
    if isinstance(value, Struct):
        fields = msgspec.structs.fields(value)
        every = [(field, getattr(value, field.name)) for field in fields]
        return [(field.name, item) for field, item in every if not _usual(field, item)]
    if isinstance(value, Mapping):
        return sorted((str(key), item) for key, item in value.items()) if value else []
    if isinstance(value, list | tuple | frozenset | set):
        return [(str(number), item) for number, item in enumerate(value)]
    return None


def _usual(field: Any, item: Any) -> bool:
    if field.default is not NODEFAULT:
        return bool(item == field.default)
    return field.default_factory is not NODEFAULT and bool(item == field.default_factory())


def _flat(parts: list[tuple[str, Any]]) -> str | None:
    """Parts that are short and simple, on one line."""
    if any(_parts(item) is not None for _, item in parts):
        return None
    numbered = all(key == str(number) for number, (key, _) in enumerate(parts))
    told = ", ".join(_plain(item, key) if numbered else f"{key} {_plain(item, key)}" for key, item in parts)
    return told if len(told) <= _WIDTH and len(parts) <= LONGEST else None


def _plain(value: Any, name: str) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, datetime):
        return clock(value)
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, int):
        return usd(value) if name in _MONEY else took(value) or "0" if name in _TIME else f"{value:,}"
    return one_line(str(value), _WIDTH)
