"""What an agent remembers from one message to the next; what a message adds counts when that is done with."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from callboard.actors.agents.values import encoded, read, value_of
from callboard.actors.claim_check import INLINE
from callboard.actors.contexts import LONGEST_KEY
from callboard.bus.log import Bus
from callboard.events.agent_events import Remembered, Value
from callboard.events.errors import Forgotten, InvalidInput

MOST: Final = 100
"""Things to remember of one message: they are said together with its end, in a message of the log."""


class Memory:
    """What an agent knew before a message, and what it is to know after."""

    def __init__(self, bus: Bus, known: Mapping[str, Any], private: str = "") -> None:
        self._bus = bus
        self._private = private
        self._known = known
        self._new: dict[str, bytes | None] = {}

    @classmethod
    async def of(cls, bus: Bus, known: Mapping[str, Value], private: str = "") -> "Memory":
        """The memory that the log tells of, for a message about ``private``; what is forgotten was never there."""
        told: dict[str, Any] = {}
        for key, value in known.items():
            with suppress(Forgotten):
                told[key] = await read(bus, value)
        return cls(bus, told, private)

    def remember(self, key: str, value: Any) -> None:
        """Keep ``value``; None forgets. Raises InvalidInput when it is more than the end of a message can hold."""
        if len(self._new | {key: None}) > MOST:
            raise InvalidInput(
                f"more than {MOST} things to remember of one message: put them under one key, or into a context"
            )
        if not 0 < len(key) <= LONGEST_KEY:
            raise InvalidInput(f"a key has 1 to {LONGEST_KEY} characters, got {key[:80]!r}")
        self._new[key] = None if value is None else encoded(value, f"what is remembered as {key!r}")

    def recall(self, key: str, default: Any) -> Any:
        """What is known under ``key``."""
        if key in self._new:
            kept = self._new[key]
            return default if kept is None else msgspec.json.decode(kept)
        return self._known.get(key, default)

    async def remembered(self) -> list[Remembered]:
        """What the message adds, as events."""
        kept, inline = [], 0
        for key, data in self._new.items():
            inline += len(data or b"")
            value = None if data is None else await value_of(self._bus, data, self._private, aside=inline > INLINE)
            kept.append(Remembered(key, value))
        return kept
