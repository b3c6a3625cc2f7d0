"""What is done to the router: one stream of prompts each, with something that changes on the way."""

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from stream import Outcome, Prompt
from world import World

TIERS = ("small", "medium", "frontier")
Choice = tuple[str, Outcome]


class Offer(NamedTuple):
    """A model as it is registered: its price in billionths of a dollar a million tokens, and its tier."""

    price: int
    tier: str


class Setting(NamedTuple):
    """What every scenario starts from: prompts to learn on, prompts to be measured on, the models, cheapest first."""

    learn: Sequence[Prompt]
    measure: Sequence[Prompt]
    offers: dict[str, Offer]


def stationary(setting: Setting, pace: int, seed: int) -> dict[str, float]:
    """Nothing changes. Mean reward, and mean cost as a part of the pace, on the prompts measured."""
    world, measure = _started(setting, pace, seed)
    choices = [world.step(prompt) for prompt in measure]
    return {"reward": reward(choices), "cost/target": cost(choices) / pace} | _shares(choices, setting.offers)


def price_drift(setting: Setting, pace: int, seed: int, model: str, factor: float) -> dict[str, float]:
    """A model's price falls to ``factor`` of itself in the second of three phases; the third repeats the first."""
    world, measure = _started(setting, pace, seed)
    length = len(measure) // 3
    first, second = measure[:length], measure[length : 2 * length]
    third = list(first)
    random.Random(seed + 1).shuffle(third)
    cheaper = [_changed(prompt, model, cost=factor) for prompt in second]
    found: dict[str, float] = {}
    for number, (prompts, price) in enumerate(((first, 1.0), (cheaper, factor), (third, 1.0)), 1):
        world.charge(model, round(setting.offers[model].price * price))
        choices = [world.step(prompt) for prompt in prompts]
        found |= {f"cost/target {number}": cost(choices) / pace, f"reward {number}": reward(choices)}
        found[f"{model} {number}"] = _shares(choices, [model])[model]
    return found


def regression(setting: Setting, pace: int, seed: int, model: str, mean: float) -> dict[str, float]:
    """A model's rewards silently fall to ``mean`` on average for a third of the prompts, and recover."""
    world, measure = _started(setting, pace, seed)
    length = len(measure) // 3
    usual = statistics.fmean(prompt.outcomes[model].reward for prompt in measure) / 1e6
    worse = [_changed(prompt, model, reward=mean / usual) for prompt in measure[length : 2 * length]]
    before = [world.step(prompt) for prompt in measure[:length]]
    during = [world.step(prompt) for prompt in worse]
    after = [world.step(prompt) for prompt in measure[2 * length :]]
    return {
        "share before": _shares(before, [model])[model],
        "share in steps 101 to 150": _shares(during[100:150], [model])[model],
        "share from step 151": _shares(during[150:], [model])[model],
        "steps until under 20 % of 50": _steps_until(during, model, lambda share: share < 0.2),
        "reward during": reward(during),
        "share in the last 200 steps after": _shares(after[-200:], [model])[model],
        "cost/target": cost([*before, *during, *after]) / pace,
    }


def newcomer(setting: Setting, pace: int, seed: int, model: str) -> dict[str, float]:
    """A model is registered only when the prompts to learn on are over; its steady use is that of the end."""
    before = setting._replace(offers={name: offer for name, offer in setting.offers.items() if name != model})
    world, measure = _started(before, pace, seed)
    world.offer(model, *setting.offers[model])
    choices = [world.step(prompt) for prompt in measure]
    steady = _shares(choices[len(choices) // 2 :], [model])[model]
    return {
        "steady share": steady,
        "steps until half of that": _steps_until(choices, model, lambda share: share >= steady / 2),
        "share in steps 71 to 120": _shares(choices[70:120], [model])[model],
        "reward": reward(choices),
        "cost/target": cost(choices) / pace,
    }


def reward(choices: Sequence[Choice]) -> float:
    """Mean reward, 0 to 1."""
    return statistics.fmean(outcome.reward for _, outcome in choices) / 1e6


def cost(choices: Sequence[Choice]) -> float:
    """Mean cost in billionths of a dollar."""
    return statistics.fmean(outcome.cost for _, outcome in choices)


def _started(setting: Setting, pace: int, seed: int) -> tuple[World, list[Prompt]]:
    """A world that has learned, and the prompts that come next."""
    order = random.Random(seed)
    learn, measure = list(setting.learn), list(setting.measure)
    order.shuffle(learn)
    order.shuffle(measure)
    world = World(pace, seed)
    for name, offer in setting.offers.items():
        world.offer(name, *offer)
    for prompt in learn:
        world.step(prompt)
    return world, measure


def _changed(prompt: Prompt, model: str, *, cost: float = 1.0, reward: float = 1.0) -> Prompt:
    before = prompt.outcomes[model]
    after = Outcome(round(before.reward * reward), round(before.cost * cost))
    return Prompt(prompt.text, prompt.outcomes | {model: after})


def _shares(choices: Sequence[Choice], models: Iterable[str]) -> dict[str, float]:
    return {model: sum(chosen == model for chosen, _ in choices) / max(len(choices), 1) for model in models}


def _steps_until(choices: Sequence[Choice], model: str, reached: Callable[[float], bool], window: int = 50) -> int:
    """After how many steps the share of a model over the last ``window`` was there; all of them if it never was."""
    for end in range(window, len(choices) + 1):
        if reached(_shares(choices[end - window : end], [model])[model]):
            return end
    return len(choices)
