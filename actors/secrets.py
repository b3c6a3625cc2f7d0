"""Secrets of this process, taken out of what others say before it becomes an event, a span or a log line.

Providers echo keys in their errors, and cut their messages anywhere: so the beginning of a secret is taken out as well.
"""

from collections.abc import Iterable
from typing import Final

SHORTEST: Final = 8
"""Characters of a secret that give it away; what is shorter as a whole is no secret."""

MASK: Final = "***"


class Secrets:
    """The ``values`` that nobody may read."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._by_head: dict[str, list[str]] = {}
        for value in values:
            if len(value) >= SHORTEST:
                self._by_head.setdefault(value[:SHORTEST], []).append(value)

    def masked(self, text: str) -> str:
        """``text`` without them, and without what is left of one that was cut off."""
        for head, values in self._by_head.items():
            at = text.find(head)
            while at >= 0:
                text = text[:at] + MASK + text[at + max(_common(text, at, value) for value in values) :]
                at = text.find(head, at + len(MASK))
        return text


NO_SECRETS: Final = Secrets()


def _common(text: str, at: int, value: str) -> int:
    """How many characters of ``value`` are at a place in ``text``, from its first one on."""
    pairs = zip(value, text[at : at + len(value)], strict=False)
    return next((length for length, (own, other) in enumerate(pairs) if own != other), min(len(value), len(text) - at))
