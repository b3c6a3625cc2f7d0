"""The parts of the benchmark: which trials each needs, and what it makes of their figures."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import reports
import routellm
import scenarios
from beside import Peers
from offers import offers_of
from published import STATIONARY, Published
from runs import Case, run
from stream import UNITS_PER_USD, read
from trial import Setting

MIDDLE, DEAR = "mistralai/mistral-large-2512", "google/gemini-2.5-pro"
FALL: Final = 0.1 * 2 / (1.25 + 10)
"""What is left of the dear model's price when it falls to 0.1 dollars a million tokens of either kind."""

CHANGING: Final = (300_000, 660_000, 1_900_000)
"""Budgets in billionths of a dollar a request, where something changes on the way."""

CHANGES: Final[dict[str, dict[str, Case]]] = {
    "drift": {"price falls and rises": partial(scenarios.price_drift, model=DEAR, factor=FALL)},
    "regression": {
        "mean 0.75": partial(scenarios.regression, model=MIDDLE, mean=0.75),
        "every reward 0.75": partial(scenarios.regression, model=MIDDLE, mean=0.75, flat=True),
        "mean 0.5": partial(scenarios.regression, model=MIDDLE, mean=0.5),
    },
    "newcomer": {
        "good": partial(scenarios.newcomer, model=MIDDLE),
        "bad": partial(scenarios.newcomer, model=MIDDLE, quality=0.5),
    },
}
REPORTS: Final = {
    "price falls and rises": reports.drift,
    "mean 0.75": partial(reports.regression, judged=False),
    "every reward 0.75": partial(reports.regression, judged=False),
    "mean 0.5": partial(reports.regression, judged=True),
    "good": partial(reports.newcomer, good=True),
    "bad": partial(reports.newcomer, good=False),
}
BARS: Final = {"mmlu": reports.RANKING, "gsm8k": None}


def files(learn: Path, measure: Path, paces: Sequence[int], seeds: int, processes: int) -> dict[str, Any]:
    """The stationary scenario on any two files."""
    return _learned(learn, measure, dict.fromkeys(paces), (), seeds, processes)


def paretobandit(folder: Path, names: Collection[str], seeds: int, processes: int) -> dict[str, Any]:
    """Scenarios on ParetoBandit's files: those of ``stationary``, ``drift``, ``regression``, ``newcomer`` named."""
    paces = STATIONARY if "stationary" in names else {}
    changes = [name for name in CHANGES if name in names]
    return _learned(folder / "val.jsonl", folder / "test.jsonl", paces, changes, seeds, processes)


def ranking(folder: Path, name: str, seeds: int, processes: int) -> dict[str, Any]:
    """How well prompts are ranked by need of the strong model, on RouteLLM's files: ``mmlu`` or ``gsm8k``."""
    prompts = routellm.read(folder / name)
    cases = {routellm.pace(share): {"streamed": scenarios.streamed} for share in routellm.SHARES}
    results = run(Setting((), prompts, offers_of(prompts)), cases, seeds, processes)
    return {"prompts": len(prompts), "seeds": seeds} | reports.ranking(results, bar=BARS[name])


def _learned(
    learn: Path,
    measure: Path,
    paces: Mapping[int, Published | None],
    changes: Sequence[str],
    seeds: int,
    processes: int,
) -> dict[str, Any]:
    prompts = read(learn)
    setting = Setting(prompts, read(measure), offers_of(prompts))
    peers = Peers(setting) if paces else None
    cases: dict[int, dict[str, Case]] = defaultdict(dict)
    for pace in paces:
        cases[pace] |= {"stationary": scenarios.stationary} | (peers.cases if peers else {})
    for name, pace in itertools.product(changes, CHANGING):
        cases[pace] |= CHANGES[name]
    results = run(setting, dict(cases), seeds, processes)
    found: dict[str, Any] = {"prompts": {"learned": len(setting.learn), "measured": len(setting.measure)}}
    if peers:
        found["stationary"] = {
            _dollars(pace): reports.stationary(results[pace]["stationary"], setting, pace, published)
            | peers.report(results[pace], pace)
            for pace, published in paces.items()
        }
        found["decision"] = peers.decision_times(sorted(paces)[len(paces) // 2])
    for name in changes:
        found[name] = {
            case: {_dollars(pace): REPORTS[case](results[pace][case]) for pace in CHANGING} for case in CHANGES[name]
        }
    return found


def _dollars(pace: int) -> str:
    return f"${pace / UNITS_PER_USD:g}"
