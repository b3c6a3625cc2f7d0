"""Prompts with what each model would have answered: the reward, and what it was billed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

UNITS_PER_USD = 1_000_000_000
"""Costs are billionths of a dollar here, so that the cheapest answers are whole numbers with three digits or more."""


class Outcome(NamedTuple):
    """Of one model's answer: the reward in parts per million, and its cost in billionths of a dollar."""

    reward: int
    cost: int


class Prompt(NamedTuple):
    """A prompt, and what would have come of it by model."""

    text: str
    outcomes: dict[str, Outcome]


def read(path: Path) -> list[Prompt]:
    """The prompts of a file with lines like ``{"prompt": ..., "arms": {model: {"reward": 0..1, "cost": dollars}}}``."""
    prompts = []
    for number, line in enumerate(lines_of(path), 1):
        try:
            row = json.loads(line)
            outcomes = {
                model: Outcome(round(arm["reward"] * 1_000_000), round(arm["cost"] * UNITS_PER_USD))
                for model, arm in row["arms"].items()
            }
            prompts.append(Prompt(row["prompt"], outcomes))
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}:{number}: not {{prompt, arms: {{model: {{reward, cost}}}}}}: {error!r}") from None
    if not prompts:
        raise SystemExit(f"{path}: no prompts in it")
    for number, prompt in enumerate(prompts, 1):
        if prompt.outcomes.keys() != prompts[0].outcomes.keys():
            raise SystemExit(f"{path}:{number}: not the models of the first line")
    return prompts


def lines_of(path: Path) -> list[str]:
    """The lines of a file. Without such a file the command ends, and says so."""
    try:
        with path.open(encoding="utf-8") as lines:
            return lines.readlines()
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None


def models_of(prompts: Sequence[Prompt]) -> list[str]:
    """The models, the cheapest first on average."""
    totals: dict[str, int] = {}
    for prompt in prompts:
        for model, outcome in prompt.outcomes.items():
            totals[model] = totals.get(model, 0) + outcome.cost
    return sorted(totals, key=totals.__getitem__)
