"""Money: whole micro-dollars (1 USD = 1,000,000), so that no sum ever drifts."""

from msgspec import Struct

from callboard.events.chat import Usage

MICROS_PER_USD = 1_000_000
TOKENS_PER_PRICE = 1_000_000


class Price(Struct, frozen=True, omit_defaults=True):
    """Micro-dollars per million tokens. ``cached`` is the price of input tokens served by a prompt cache."""

    input: int = 0
    output: int = 0
    cached: int | None = None

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for ``usage``, each call rounded up to the next whole one."""
        cached = self.input if self.cached is None else self.cached
        fresh_input = max(usage.input - usage.cached, 0)
        total = fresh_input * self.input + usage.cached * cached + usage.output * self.output
        return -(-total // TOKENS_PER_PRICE)
