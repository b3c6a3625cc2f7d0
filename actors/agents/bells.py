"""Bells: whoever waits for something of the log in this process is told when it has come."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bells:
    """Bells by what they ring for, as ``task/ID``."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the bell ``name`` rings."""
        event = asyncio.Event()
        self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[name]
            waiting.discard(event)
            if not waiting:
                del self._waiting[name]

    def ring(self, name: str) -> None:
        """It has come, perhaps: look again."""
        for event in self._waiting.get(name, ()):
            event.set()

    def ring_all(self) -> None:
        """Something may have been missed: look again, everybody."""
        for name in self._waiting:
            self.ring(name)
