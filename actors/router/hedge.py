"""Whether a second backend is asked as well, because a call is late. Pure.

The rules:

- Late is a call without a first token when 95 % of its backend's calls had theirs. It is hedged once.
- At most so many percent of the newest calls are hedges; whoever follows the log knows that share.
- Another backend must be able to begin at once, and at no more than twice the price of the first for the same tokens;
  both together must fit the task's ``max_cost``. The one with the lowest latency is asked.
- Never hedged is a task with tools (its model may have effects of its own on the server), with a budget, or whose
  answer is to be checked.
"""

from datetime import datetime
from typing import Final

from callboard.actors.router.features import features
from callboard.actors.router.options import PERCENT, Option, candidates
from callboard.actors.router.policies.policy import highest
from callboard.actors.router.route import View, surveyed
from callboard.actors.router.twins import draw
from callboard.events.backend import Breaker
from callboard.events.chat import Usage
from callboard.events.placement import Hedged
from callboard.events.task import Task
from callboard.events.task_spec import Decision, TaskSpec
from callboard.projections.bill import PPM
from callboard.projections.load import RECENT_CALLS

HEDGE_POLICY: Final = "hedge/1"
DEAREST: Final = 2


def is_allowed(hedged: int, percent: int) -> bool:
    """Whether one more hedge keeps within the share; ``hedged`` is the share so far, in parts per million."""
    return hedged + PPM // RECENT_CALLS <= percent * PERCENT


def hedge(
    task: Task, call: int, quiet: int, view: View, now: datetime, seed: int, prefix: bytes = b""
) -> Hedged | None:
    """The second assignment of a task whose ``call`` has given no token for ``quiet`` ns, if there is to be one.

    Its prompt begins with ``prefix``.
    """
    spec = task.spec
    if spec is None or spec.tools or spec.budget or task.check or len(task.placed) != 1 or task.placed[0].call != call:
        return None
    first = task.placed[0].backend
    looks = features(spec)
    found = surveyed(task, view, looks, prefix, now)
    options = found.options
    known = next((option for option in options if option.backend == first), None)
    fit = tuple(o for o in options if known and _fits(o, known, found.input, task, spec, view))
    if not fit:
        return None
    winner, propensity = draw(fit, lambda among: highest([-option.latency for option in among]), seed)
    decision = Decision(
        policy=HEDGE_POLICY,
        reason=f"no token from {first} after {quiet / 1e9:.2f} s, later than usual",
        seen=view.seen,
        candidates=candidates(options),
        seed=seed,
        propensity=propensity,
        features=looks,
        prefix=prefix,
    )
    attempt, tokens = task.attempt + 1, winner.tokens
    return Hedged(winner.backend, attempt, call, tokens, decision, spec.priority, winner.cached, winner.service)


def _fits(option: Option, first: Option, sent: int, task: Task, spec: TaskSpec, view: View) -> bool:
    closed = view.backends[option.backend].breaker is Breaker.CLOSED
    if option.backend == first.backend or not closed or option.full or option.room <= 0:
        return False
    both = task.cost + first.cost + option.cost
    if spec.max_cost is not None and both > spec.max_cost:
        return False
    usage = Usage(sent, first.tokens - sent)
    dear, usual = (view.backends[one.backend].price.cost(usage) for one in (option, first))
    return dear <= DEAREST * usual
