"""Which subjects are wanted, as NATS says it, where no server looks at them."""

import re
from collections.abc import Iterable


class Filter:
    """Which subjects are wanted: NATS wildcards, ``*`` for one token, a last ``>`` for one or more."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._wanted = re.compile("|".join(map(_expression, patterns)))

    def __contains__(self, subject: str) -> bool:
        return self._wanted.fullmatch(subject) is not None


def _expression(pattern: str) -> str:
    front, tail = (pattern[:-1], ".+") if pattern == ">" or pattern.endswith(".>") else (pattern, "")
    return r"\.".join(r"[^.]+" if part == "*" else re.escape(part) for part in front.split(".")) + tail
