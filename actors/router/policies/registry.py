"""Policies by name: the built-in ones, and any installed under the entry point group ``callboard.policies``."""

from importlib.metadata import entry_points
from typing import Final

from callboard.actors.router.policies.adaptive import Adaptive
from callboard.actors.router.policies.agent import Agent
from callboard.actors.router.policies.balanced import Balanced
from callboard.actors.router.policies.best import Best
from callboard.actors.router.policies.cascade import Cascade
from callboard.actors.router.policies.cheapest import Cheapest
from callboard.actors.router.policies.fastest import Fastest
from callboard.actors.router.policies.policy import Policy
from callboard.events.errors import InvalidInput

GROUP = "callboard.policies"
SECOND: Final = 500
QUALITY: Final = 50
"""What a second and a percent are worth in micro-dollars if nobody says otherwise."""


def policies(
    second: int = SECOND, quality: int = QUALITY, pace: int = 0, fallback: str = "balanced"
) -> dict[str, Policy]:
    """Every policy by its name; an installed one may replace a built-in one.

    Args:
        second: micro-dollars that a second of waiting is worth.
        quality: micro-dollars that a percent of quality is worth.
        pace: micro-dollars that a task may cost on average, for policies that pace; 0 for no such bound.
        fallback: the policy that decides where `Agent` has no advice.

    Raises InvalidInput when an installed one cannot be loaded.
    """
    found: dict[str, Policy] = {
        "cheapest": Cheapest(),
        "fastest": Fastest(),
        "balanced": Balanced(second, quality),
        "best": Best(),
        "adaptive": Adaptive(second, quality, pace),
        "cascade": Cascade(),
    }
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()()
        except Exception as error:
            raise InvalidInput(f"policy {point.name!r} ({point.value}) can't be loaded: {error}") from error
    return {"agent": Agent(found[fallback]), **found}
