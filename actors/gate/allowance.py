"""How much one backend may say in a second. Pure: the clock is an argument."""

from typing import Final

MESSAGES_PER_S: Final = 10_000
"""200 calls that stream as fast as they are told on (`callboard.actors.gate.words.GATHER_S`)."""

MESSAGE: Final = 4096
"""A larger message counts as so many as it has times this many bytes: 40 MB a second are the most."""

REFUSALS_PER_S: Final = 10


class Allowance:
    """Counts the messages of the running second, of which ``most`` are allowed."""

    def __init__(self, most: int = MESSAGES_PER_S) -> None:
        self._most = most
        self._second = 0
        self._count = 0

    def take(self, size: int, now_s: float) -> bool:
        """Whether a message of ``size`` bytes is still within it."""
        if int(now_s) != self._second:
            self._second, self._count = int(now_s), 0
        self._count += 1 + size // MESSAGE
        return self._count <= self._most
