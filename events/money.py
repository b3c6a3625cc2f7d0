"""Money: whole micro-dollars (1 USD = 1,000,000), so that no sum ever drifts."""

from msgspec import Struct

from callboard.events.chat import Usage

MICROS_PER_USD = 1_000_000
TOKENS_PER_PRICE = 1_000_000


class Rates(Struct, frozen=True, gc=False, omit_defaults=True):
    """Micro-dollars per million tokens. ``cached`` is the price of input tokens served by a prompt cache."""

    input: int = 0
    output: int = 0
    cached: int | None = None


class Step(Rates, frozen=True, omit_defaults=True, kw_only=True):
    """The rates of a whole call, all its tokens, whose input is over ``over`` tokens."""

    over: int


class Price(Rates, frozen=True, omit_defaults=True):
    """What a call costs: its rates, and those of longer prompts, if they are dearer, by ascending ``over``."""

    steps: tuple[Step, ...] = ()

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for ``usage``, each call rounded up to the next whole one."""
        return self.charge(usage.input, usage.output, usage.cached)

    def charge(self, given: int, made: int, cached: int = 0) -> int:
        """The same for ``given`` tokens of input, of which some were ``cached``, and ``made`` ones of output."""
        rates: Rates = self
        for step in self.steps:
            if given > step.over:
                rates = step
        total = given * rates.input + made * rates.output
        if cached:
            reading = rates.input if rates.cached is None else rates.cached
            total += cached * reading - min(cached, given) * rates.input
        return -(-total // TOKENS_PER_PRICE)

    def ceiling(self, input_tokens: int, output_tokens: int) -> int:
        """The most that a call of at most so many tokens can cost, whatever part of its input was cached."""
        reached: list[Rates] = [self, *(step for step in self.steps if input_tokens > step.over)]
        dearest = max(
            input_tokens * max(rates.input, rates.cached or 0) + output_tokens * rates.output for rates in reached
        )
        return -(-dearest // TOKENS_PER_PRICE)


def dollars(micros: int) -> str:
    """Micro-dollars exactly, as commands take them: ``1.5usd``, ``0.000012usd``."""
    whole, rest = divmod(micros, MICROS_PER_USD)
    decimals = f"{rest:06}".rstrip("0")
    return f"{whole}.{decimals}usd" if decimals else f"{whole}usd"
