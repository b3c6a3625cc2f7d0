"""What the figures of a scenario come to: intervals, references and verdicts."""

import statistics
from collections.abc import Sequence
from typing import Any, Final

import routellm
from intervals import DIGITS, interval, summaries, summary
from published import Published
from references import Mixes, clairvoyant
from runs import Figures, Results
from scenarios import figures_of
from trial import Setting

STRAYING: Final = (0.95, 1.04)
"""Bounds of cost/target while prices change."""

LEAVING: Final = 0.20
JOINING: Final = 120
REJECTED: Final = 0.10
RANKING: Final = 0.603
"""APGR that RouteLLM published for MMLU."""


def stationary(runs: Sequence[Figures], setting: Setting, pace: int, published: Published | None) -> dict[str, Any]:
    """Beside the best mix of models, one who knows all outcomes, and what was published."""
    found = beside_mix(runs, setting, pace)
    found["clairvoyant"] = round(figures_of(clairvoyant(setting.measure, pace), pace)["reward"], DIGITS)
    verdicts = {
        "not_below_mix": interval(_above_mix(runs, setting, pace))[1] >= 0,
        "within_budget": mean(runs, "cost/target") <= 1.0,
    }
    if published:
        verdicts["above_published"] = interval([run["reward"] for run in runs])[0] > published.interval[1]
        found["published"] = {
            "reward": published.reward,
            "ci95": [round(end, DIGITS) for end in published.interval],
            "budget": published.budget,
            "cost/target": published.used,
        }
    return found | {"verdicts": verdicts}


def beside_mix(runs: Sequence[Figures], setting: Setting, pace: int) -> dict[str, Any]:
    """Figures, and how far rewards are above the best mix of models at the cost that each run had."""
    above = _above_mix(runs, setting, pace)
    mix = mean(runs, "reward") - statistics.fmean(above)
    return summaries(runs) | {
        "best mix at the same cost": round(mix, DIGITS),
        "reward above that mix": summary(above),
    }


def drift(runs: Sequence[Figures]) -> dict[str, Any]:
    """Whether spending keeps to its target under the usual prices, before and after the change."""
    low, high = STRAYING
    verdicts = {f"on_target_{phase}": low <= mean(runs, f"cost/target {phase}") <= high for phase in (1, 3)}
    return summaries(runs) | {"verdicts": verdicts}


def regression(runs: Sequence[Figures], *, judged: bool) -> dict[str, Any]:
    """Whether the model that became worse is left; ``judged`` if it should be."""
    verdicts = {"left_within_150": mean(runs, "share in steps 101 to 150") < LEAVING} if judged else {}
    return summaries(runs) | {"verdicts": verdicts}


def newcomer(runs: Sequence[Figures], *, good: bool) -> dict[str, Any]:
    """Whether a good newcomer is used soon, a bad one rejected."""
    if good:
        verdicts = {"in_use_within_120": mean(runs, "steps until half of that") <= JOINING}
    else:
        verdicts = {"rejected": mean(runs, "share in the last half") < REJECTED}
    return summaries(runs) | {"verdicts": verdicts}


def ranking(results: Results, *, bar: float | None) -> dict[str, Any]:
    """APGR by seed, from the figures at each budget."""
    by_pace = [named["streamed"] for named in results.values()]
    areas = [
        routellm.area([(run["share of strong calls"], run["gap recovered"]) for run in runs])
        for runs in zip(*by_pace, strict=True)
    ]
    budgets = {f"{share:.0%}": summaries(runs) for share, runs in zip(routellm.SHARES, by_pace, strict=True)}
    verdicts = {} if bar is None else {"above_routellm": statistics.fmean(areas) >= bar}
    return {"APGR": summary(areas), "published": bar, "budgets": budgets, "verdicts": verdicts}


def difference(runs: Sequence[Figures], others: Sequence[Figures], name: str) -> dict[str, object]:
    """How much higher a figure is, by seed."""
    return summary([run[name] - other[name] for run, other in zip(runs, others, strict=True)])


def mean(runs: Sequence[Figures], name: str) -> float:
    """The mean of a figure over runs."""
    return statistics.fmean(run[name] for run in runs)


def missed(report: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Where in a report a verdict says no."""
    found = []
    for name, value in report.items():
        if name == "verdicts":
            found += [": ".join((*path, verdict)) for verdict, holds in value.items() if not holds]
        elif isinstance(value, dict):
            found += missed(value, (*path, name))
    return found


def _above_mix(runs: Sequence[Figures], setting: Setting, pace: int) -> list[float]:
    mixes = Mixes(setting.measure)
    return [run["reward"] - mixes.reward(run["cost/target"] * pace) for run in runs]
