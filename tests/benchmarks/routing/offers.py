"""The models as they are registered: their prices are public knowledge, or follow from what the learning file says."""

import statistics
from collections.abc import Sequence
from typing import Final, NamedTuple

from stream import UNITS_PER_USD, Prompt, models_of

TOKENS_A_PROMPT: Final = 500
"""An answer of a model without a known price is taken to have so many tokens, by the median of its costs."""

TOKENS_A_PRICE: Final = 1_000_000
TIERS: Final = ("small", "medium", "frontier")


class Offer(NamedTuple):
    """What a model costs, in billionths of a dollar a million tokens of its answers, and its tier."""

    price: int
    tier: str


KNOWN: Final = {
    "meta-llama/llama-3.1-8b-instruct": Offer(UNITS_PER_USD // 10, "small"),
    "mistralai/mistral-large-2512": Offer(UNITS_PER_USD * 3 // 2, "medium"),
    "google/gemini-2.5-pro": Offer(UNITS_PER_USD * 10, "frontier"),
}


def offers_of(prompts: Sequence[Prompt]) -> dict[str, Offer]:
    """An offer for each model of a learning file, the cheapest first; tiers go by that order if one is unknown."""
    models = models_of(prompts)
    if KNOWN.keys() >= set(models):
        return {model: KNOWN[model] for model in models}
    last = max(len(models) - 1, 1)
    return {
        model: Offer(_price(model, prompts), TIERS[round(place * (len(TIERS) - 1) / last)])
        for place, model in enumerate(models)
    }


def _price(model: str, prompts: Sequence[Prompt]) -> int:
    median = statistics.median(prompt.outcomes[model].cost for prompt in prompts)
    return max(round(median * TOKENS_A_PRICE / TOKENS_A_PROMPT), 1)
