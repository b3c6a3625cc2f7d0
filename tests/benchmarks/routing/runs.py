"""Many trials on several processes."""

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import TypeAlias

from trial import Setting, Trial

Figures: TypeAlias = dict[str, float]
Case: TypeAlias = Callable[[Trial], Figures]
Cases: TypeAlias = Mapping[int, Mapping[str, Case]]
"""What is to be done by pace, under names."""

Results: TypeAlias = dict[int, dict[str, list[Figures]]]
"""Figures by pace and name of the case, one for each seed."""


def run(setting: Setting, cases: Cases, seeds: int, processes: int) -> Results:
    """Every case with every seed; the cases of one pace and seed share what was learned."""
    jobs = [(pace, seed) for pace in cases for seed in range(seeds)]
    results: Results = {pace: {name: [] for name in named} for pace, named in cases.items()}
    with ProcessPoolExecutor(processes, initializer=_prepare, initargs=(setting, cases)) as pool:
        for done, ((pace, _), found) in enumerate(zip(jobs, pool.map(_job, jobs), strict=True), 1):
            print(f"{done} of {len(jobs)} runs", end="\r" if done < len(jobs) else "\n", file=sys.stderr, flush=True)
            for name, figures in found.items():
                results[pace][name].append(figures)
    return results


_prepared: list[tuple[Setting, Cases]] = []


def _prepare(setting: Setting, cases: Cases) -> None:
    """Once in each process, since prompts are many."""
    _prepared[:] = [(setting, cases)]


def _job(job: tuple[int, int]) -> dict[str, Figures]:
    ((setting, cases),) = _prepared
    pace, seed = job
    trial = Trial(setting, pace, seed)
    return {name: case(trial) for name, case in cases[pace].items()}
