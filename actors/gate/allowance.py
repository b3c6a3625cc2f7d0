"""How much one backend may say in a second. Pure: the clock is an argument."""

from typing import Final

MESSAGES_PER_S: Final = 10_000
"""200 calls that stream as fast as they are told on (`callboard.actors.gate.words.GATHER_S`)."""

BYTES_PER_S: Final = 64 * 1024 * 1024
REFUSALS_PER_S: Final = 10


class Allowance:
    """Counts messages and bytes of the running second."""

    def __init__(self, messages: int = MESSAGES_PER_S, size: int = BYTES_PER_S) -> None:
        self._most = messages, size
        self._second = 0
        self._count = 0
        self._size = 0

    def take(self, size: int, now_s: float) -> bool:
        """Whether a message of ``size`` bytes is still within it."""
        if int(now_s) != self._second:
            self._second, self._count, self._size = int(now_s), 0, 0
        self._count += 1
        self._size += size
        return self._count <= self._most[0] and self._size <= self._most[1]
