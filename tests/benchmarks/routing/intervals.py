"""A figure over seeds: mean, 95 % confidence interval by Student's t, lowest and highest."""

import statistics
from collections.abc import Sequence
from typing import Final

QUANTILES: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Of Student's t at 97.5 %, by degrees of freedom from one."""

DIGITS: Final = 5


def reach(deviation: float, count: int) -> float:
    """How far the interval reaches to both sides, of a mean over ``count`` values with this standard deviation."""
    freedom = count - 1
    quantile = QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else 1.96 + 2.37 / freedom
    return float(quantile * deviation / count**0.5)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Both ends of the interval; the mean twice if there is but one value."""
    half = reach(statistics.stdev(values), len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def summary(values: Sequence[float]) -> dict[str, object]:
    """Mean, ``ci95`` (None of a single value), min and max."""
    return {
        "mean": round(statistics.fmean(values), DIGITS),
        "ci95": [round(end, DIGITS) for end in interval(values)] if len(values) > 1 else None,
        "min": round(min(values), DIGITS),
        "max": round(max(values), DIGITS),
    }


def summaries(runs: Sequence[dict[str, float]]) -> dict[str, object]:
    """The summary of each figure over runs that tell the same ones."""
    return {name: summary([run[name] for run in runs]) for name in runs[0]}
