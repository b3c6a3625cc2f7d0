"""RouteLLM's published answers to MMLU and GSM8K: right or wrong, of a weak and a strong model."""

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from stream import UNITS_PER_USD, Outcome, Prompt, lines_of

WEAK: Final = "mistralai/Mixtral-8x7B-Instruct-v0.1"
STRONG: Final = "gpt-4-1106-preview"
TOKENS_A_CALL: Final = 500
"""Of every call, since the files tell no costs: so the strong model's part of the money is its part of the calls."""

COSTS: Final = {
    WEAK: round(0.24 * TOKENS_A_CALL * UNITS_PER_USD / 1e6),
    STRONG: round(24.7 * TOKENS_A_CALL * UNITS_PER_USD / 1e6),
}
SHARES: Final = tuple(tenth / 10 for tenth in range(1, 10))


def read(folder: Path) -> list[Prompt]:
    """The prompts of a folder's CSV files, but for those that the strong model is known to have been trained on."""
    files = sorted(folder.rglob("*.csv"))
    if not files:
        raise SystemExit(f"{folder}: no CSV file in it")
    seen = {json.loads(line)["eval_prompt"] for line in lines_of(folder / "contaminated_prompts.jsonl")}
    prompts = []
    for path in files:
        with path.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                if row["prompt"] not in seen:
                    right = {model: row[model] == "True" for model in COSTS}
                    outcomes = {model: Outcome(1_000_000 * right[model], cost) for model, cost in COSTS.items()}
                    prompts.append(Prompt(row["prompt"], outcomes))
    return prompts


def pace(share: float) -> int:
    """The mean cost at which the strong model gets this share of the calls, in billionths of a dollar."""
    return round(COSTS[WEAK] + share * (COSTS[STRONG] - COSTS[WEAK]))


def area(points: Sequence[tuple[float, float]]) -> float:
    """APGR: the area under the performance gap recovered, over the share of strong calls; a random router has 0.5."""
    line = sorted([(0.0, 0.0), *points, (1.0, 1.0)])
    return sum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in itertools.pairwise(line))
