"""How long a decision takes, of a router that has learned, on a process of its own."""

import statistics
import time
from collections.abc import Iterable
from typing import Any, Protocol

from stream import Prompt


class Router(Protocol):
    """What decides on a prompt's text, and is told what came of it."""

    def decide(self, prompt: str) -> Any:
        """Choose a model."""
        ...

    def tell(self, prompt: Prompt, verdict: Any) -> object:
        """Tell the outcome of the model chosen."""
        ...


def decision_time(router: Router, prompts: Iterable[Prompt]) -> dict[str, float]:
    """Microseconds a decision, while the router goes on learning."""
    took = []
    for prompt in prompts:
        began = time.perf_counter_ns()
        verdict = router.decide(prompt.text)
        took.append((time.perf_counter_ns() - began) / 1e3)
        router.tell(prompt, verdict)
    took.sort()
    return {
        "p50_us": round(statistics.median(took), 1),
        "mean_us": round(statistics.fmean(took), 1),
        "p99_us": round(took[int(len(took) * 0.99)], 1),
    }
