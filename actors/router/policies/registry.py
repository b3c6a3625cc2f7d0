"""Policies by name: the built-in ones, and any installed under the entry point group ``callboard.policies``."""

from importlib.metadata import entry_points

from callboard.actors.router.policies.agent import Agent
from callboard.actors.router.policies.balanced import Balanced
from callboard.actors.router.policies.best import Best
from callboard.actors.router.policies.cascade import Cascade
from callboard.actors.router.policies.cheapest import Cheapest
from callboard.actors.router.policies.fastest import Fastest
from callboard.actors.router.policies.policy import Policy
from callboard.events.errors import InvalidInput

GROUP = "callboard.policies"


def policies(balanced: Balanced | None = None, fallback: str = "balanced") -> dict[str, Policy]:
    """Every policy by its name; an installed one may replace a built-in one.

    ``fallback`` names the one that decides where `Agent` has no advice.

    Raises InvalidInput when an installed one cannot be loaded.
    """
    found: dict[str, Policy] = {
        "cheapest": Cheapest(),
        "fastest": Fastest(),
        "balanced": balanced or Balanced(),
        "best": Best(),
        "cascade": Cascade(),
    }
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()()
        except Exception as error:
            raise InvalidInput(f"policy {point.name!r} ({point.value}) can't be loaded: {error}") from error
    return {"agent": Agent(found[fallback]), **found}
