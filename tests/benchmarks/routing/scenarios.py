"""What is done to the router: a stream of prompts each, with something that changes on the way, and what is told of it.

All figures of a scenario are numbers by name, of one trial.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from references import clairvoyant
from stream import Outcome, Prompt
from trial import Trial
from world import World

Choice = tuple[str, Outcome]
WINDOW: Final = 50
"""A share of the traffic at some step is that of so many steps before it."""


def stationary(trial: Trial) -> dict[str, float]:
    """Nothing changes."""
    choices = _routed(trial.world(), trial.measure)
    return figures_of(choices, trial.pace) | {f"share {name}": share(choices, name) for name in trial.offers}


def price_drift(trial: Trial, model: str, factor: float) -> dict[str, float]:
    """A model's price is announced to be ``factor`` of what it was, for the second of three phases."""
    world = trial.world()
    first, second, again = trial.phases
    cheaper = [_changed(prompt, model, cost=factor) for prompt in second]
    found: dict[str, float] = {}
    for number, (prompts, price) in enumerate(((first, 1.0), (cheaper, factor), (again, 1.0)), 1):
        world.charge(model, round(trial.offers[model].price * price))
        choices = _routed(world, prompts)
        found |= {f"{name} {number}": value for name, value in figures_of(choices, trial.pace).items()}
        found[f"share {number}"] = share(choices, model)
    return found


def regression(trial: Trial, model: str, mean: float, *, flat: bool = False) -> dict[str, float]:
    """A model's rewards silently fall to ``mean`` for the second of three phases.

    On average, each in proportion; or each of them, if ``flat``.
    """
    world = trial.world()
    first, second, again = trial.phases
    usual = statistics.fmean(prompt.outcomes[model].reward for prompt in trial.measure) / 1e6
    worse = [
        _changed(prompt, model, reward=mean * 1e6 / max(prompt.outcomes[model].reward, 1) if flat else mean / usual)
        for prompt in second
    ]
    before, during, after = (_routed(world, prompts) for prompts in (first, worse, again))
    oracle = clairvoyant(worse, trial.pace)
    return {
        "share before": share(before, model),
        "share in steps 101 to 150": share(during[100:150], model),
        "share from step 151": share(during[150:], model),
        "share of an oracle": share(oracle, model),
        "steps until under 20 %": _steps_until(during, model, lambda part: part < 0.2),
        "reward during": figures_of(during, trial.pace)["reward"],
        "reward of an oracle": figures_of(oracle, trial.pace)["reward"],
        "share in the last 200 steps after": share(after[-200:], model),
        "cost/target": figures_of([*before, *during, *after], trial.pace)["cost/target"],
    }


def newcomer(trial: Trial, model: str, quality: float = 1.0) -> dict[str, float]:
    """A model is registered only when the prompts to learn on are over; ``quality`` is a factor of its rewards.

    Its steady use is that of the last half.
    """
    world = trial.world(without=model)
    world.offer(model, *trial.offers[model])
    choices = _routed(world, [_changed(prompt, model, reward=quality) for prompt in trial.measure])
    steady = share(choices[len(choices) // 2 :], model)
    return {
        "share in the last half": steady,
        "steps until half of that": _steps_until(choices, model, lambda part: part >= steady / 2),
        "share in steps 71 to 120": share(choices[70:120], model),
    } | figures_of(choices, trial.pace)


def streamed(trial: Trial) -> dict[str, float]:
    """Nothing is learned before; the last half of the stream is measured.

    What of the gap between the cheapest and the dearest model's rewards is recovered, at which share of calls.
    """
    measured = trial.measure[len(trial.measure) // 2 :]
    choices = _routed(trial.world(), trial.measure)[-len(measured) :]
    weak, strong = (
        statistics.fmean(prompt.outcomes[name].reward for prompt in measured) / 1e6
        for name in (next(iter(trial.offers)), next(reversed(trial.offers)))
    )
    found = figures_of(choices, trial.pace)
    return found | {
        "share of strong calls": share(choices, next(reversed(trial.offers))),
        "gap recovered": (found["reward"] - weak) / (strong - weak),
    }


def figures_of(choices: Sequence[Choice], pace: int) -> dict[str, float]:
    """Mean reward, 0 to 1, and mean cost as a part of the pace."""
    return {
        "reward": statistics.fmean(outcome.reward for _, outcome in choices) / 1e6,
        "cost/target": statistics.fmean(outcome.cost for _, outcome in choices) / pace,
    }


def share(choices: Sequence[Choice], model: str) -> float:
    """The part of the traffic that a model got."""
    return sum(chosen == model for chosen, _ in choices) / max(len(choices), 1)


def _routed(world: World, prompts: Iterable[Prompt]) -> list[Choice]:
    return [world.step(prompt) for prompt in prompts]


def _changed(prompt: Prompt, model: str, *, cost: float = 1.0, reward: float = 1.0) -> Prompt:
    before = prompt.outcomes[model]
    after = Outcome(round(before.reward * reward), round(before.cost * cost))
    return Prompt(prompt.text, prompt.outcomes | {model: after})


def _steps_until(choices: Sequence[Choice], model: str, reached: Callable[[float], bool]) -> int:
    """After how many steps the share of a model was there; all of them if it never was."""
    for end in range(WINDOW, len(choices) + 1):
        if reached(share(choices[end - WINDOW : end], model)):
            return end
    return len(choices)
