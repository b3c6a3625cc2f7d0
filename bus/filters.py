"""Which subjects are wanted, as NATS says it, where no server looks at them."""

import re
from collections.abc import Iterable, Sequence


class Filter:
    """Which subjects are wanted: NATS wildcards, ``*`` for one token, a last ``>`` for one or more."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._wanted = re.compile("|".join(map(_expression, patterns)))

    def __contains__(self, subject: str) -> bool:
        return self._wanted.fullmatch(subject) is not None


def kinds_of(patterns: Sequence[str]) -> frozenset[str] | None:
    """The kinds of entities whose events are wanted by patterns such as ``evt.*.task.>``; None if it may be any."""
    kinds = frozenset(pattern.split(".")[2] if pattern.count(".") > 1 else ">" for pattern in patterns)
    return None if not kinds or kinds & {"*", ">"} else kinds


def entities_of(patterns: Sequence[str]) -> frozenset[str] | None:
    """The entities that are wanted, where patterns name them, as ``evt.7.task.07-A.>``; None if it may be others."""
    parts = [pattern.split(".") for pattern in patterns]
    named = all(len(each) > 4 and not {"*", ">"} & {*each[:4]} for each in parts)
    return frozenset(".".join(each[:4]) for each in parts) if parts and named else None


def common(patterns: Sequence[str]) -> str:
    """One pattern that takes in all that ``patterns`` do, and not much else."""
    parts = [pattern.split(".") for pattern in patterns]
    merged = [each[0] if len({*each}) == 1 else "*" for each in zip(*parts, strict=False)]
    if len({*map(len, parts)}) == 1 and all(part[-1] != ">" for part in parts):
        return ".".join(merged)
    return ".".join([*merged[: min(map(len, parts)) - 1], ">"])


def _expression(pattern: str) -> str:
    front, tail = (pattern[:-1], ".+") if pattern == ">" or pattern.endswith(".>") else (pattern, "")
    return r"\.".join(r"[^.]+" if part == "*" else re.escape(part) for part in front.split(".")) + tail
