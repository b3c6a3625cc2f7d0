"""The decision about a task that has a budget: `route`, and then whether the money is there. Pure.

A breach is a need that would not be met even if all the money came back that is held for calls under way: the budget
that falls short says what is done then. A need that such money would meet waits for it: nothing is exceeded yet. Only
``degrade`` does not wait: it takes what still fits, and does as ``ask`` does when nothing fits.
"""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.ceiling import hold_for
from callboard.actors.router.route import Rules, Verdict, View, Weighed, route, weighed
from callboard.events.budget import Breached, Budget
from callboard.events.money import dollars
from callboard.events.task import Assigned, DeadLettered, Parked, Rejected, Task
from callboard.events.task_spec import Hold
from callboard.projections.bill import PPM
from callboard.projections.load import BackendLoad


class Purse(Struct, frozen=True):
    """What there is for one task: its budget and those above it, upwards, and the ``room`` of a lease at hand.

    ``untold`` is what a budget holds for calls whose end nobody saw: it is not counted upon.
    """

    levels: tuple[Budget, ...]
    untold: Mapping[str, int] = {}
    room: int = 0

    def fits(self, amount: int) -> bool:
        """Whether so much can be had now."""
        return amount <= self.room or self.short(amount) is None

    def short(self, amount: int) -> Budget | None:
        """The lowest level that has not so much left, now."""
        return next((level for level in self.levels if level.left < amount), None)

    def exhausted(self, amount: int) -> Budget | None:
        """The lowest level that will not have so much left, even if all that is held for calls under way comes back."""
        return next((level for level in self.levels if self.coming(level) < amount), None)

    def coming(self, level: Budget) -> int:
        """What a level will have left at most."""
        return max(level.coming - self.untold.get(level.id, 0), 0)


class Funded(Struct, frozen=True):
    """A verdict, and the breach that it comes from, by the budget that has to tell it."""

    verdict: Verdict
    breach: tuple[str, Breached] | None = None


def fund(
    task: Task, view: View, rules: Rules, now: datetime, seed: int, purse: Purse | None, prefix: bytes = b""
) -> Funded:
    """What is to be done with a task that has a budget; without a ``purse`` as if there were money enough.

    An assignment carries the hold that it needs, of no lease yet.
    """
    verdict = route(task, view, rules, now, seed, prefix)
    if not isinstance(verdict, Assigned):
        return Funded(verdict)
    holds = _holds(task, view)
    needed = holds[verdict.backend].amount
    if purse is not None and not purse.levels:
        return Funded(Rejected(f"unknown budget {holds[verdict.backend].budget!r}: see `callboard budget show`"))
    short = purse.short(needed) if purse is not None and not purse.fits(needed) else None
    if purse is None or short is None:
        return Funded(replace(verdict, hold=holds[verdict.backend]))
    if (purse.exhausted(needed) or short).on_breach == "degrade":
        able = verdict.decision.candidates.backends
        if any(purse.fits(holds[name].amount) for name in able):
            cheaper = route(task, replace(view, unaffordable=_too_dear(purse, holds)), rules, now, seed, prefix)
            if isinstance(cheaper, Assigned):
                cheaper = replace(cheaper, hold=holds[cheaper.backend])
            return Funded(cheaper, _breach(task, purse, needed))
        needed = min(holds[name].amount for name in able)
    return _unaffordable(task, purse, needed, short)


def chances(
    task: Task, view: View, rules: Rules, now: datetime, purse: Purse, prefix: bytes = b""
) -> tuple[Weighed | Verdict, dict[str, int]]:
    """How probable each backend is to get a task that `fund` decides on, in parts per million.

    What they miss of a whole is how probable it is to get none. With it comes what was weighed as if there were money
    enough.
    """
    found = weighed(task, view, rules, now, prefix)
    if not isinstance(found, Weighed):
        return found, {}
    free, holds = found.chances(), _holds(task, view)
    kept = {name: chance for name, chance in free.items() if purse.fits(holds[name].amount)}
    cheaper: Weighed | Verdict | None = None
    for name, chance in free.items():
        needed = holds[name].amount
        if not chance or name in kept:
            continue
        level = purse.exhausted(needed) or purse.short(needed)
        fit = any(purse.fits(holds[able].amount) for able in (each.backend for each in found.found.options))
        if level is None or level.on_breach != "degrade" or not fit:
            continue
        if cheaper is None:
            cheaper = weighed(task, replace(view, unaffordable=_too_dear(purse, holds)), rules, now, prefix)
        for other, part in cheaper.chances().items() if isinstance(cheaper, Weighed) else ():
            kept[other] = kept.get(other, 0) + chance * part // PPM
    return found, kept


def _holds(task: Task, view: View) -> Mapping[str, Hold]:
    spec = task.spec
    assert spec is not None
    assert spec.budget is not None
    return {
        name: hold_for(spec, backend, view.loads.get(name, BackendLoad()), spec.budget)
        for name, backend in view.backends.items()
    }


def _too_dear(purse: Purse, holds: Mapping[str, Hold]) -> dict[str, str]:
    budget = purse.levels[0].id
    return {
        name: f"may cost {dollars(hold.amount)}, over what budget {budget} has left"
        for name, hold in holds.items()
        if not purse.fits(hold.amount)
    }


def _unaffordable(task: Task, purse: Purse, needed: int, short: Budget) -> Funded:
    budget = purse.levels[0].id
    level = purse.exhausted(needed)
    if level is None:
        waits = f"waits for {dollars(needed)} of budget {short.id}, which are held for calls under way"
        return Funded(Parked(waits, budget=budget, needed=needed))
    part = "" if level.id == budget else f" (which {budget} is part of)"
    coming, lost = purse.coming(level), purse.untold.get(level.id, 0)
    besides = f", besides {dollars(lost)} held for calls whose end nobody saw," if lost else ""
    reason = (
        f"budget {level.id}{part} has {dollars(coming)} left{besides} and {dollars(needed)} may be needed: "
        f"callboard budget set {level.id} --limit {dollars(level.limit + needed - coming)}"
    )
    breach = _breach(task, purse, needed)
    if level.on_breach == "stop":
        return Funded(DeadLettered(f"{reason}, then callboard dead requeue {task.id}"), breach)
    return Funded(Parked(reason, budget=budget, needed=needed, breach=True), breach)


def _breach(task: Task, purse: Purse, needed: int) -> tuple[str, Breached] | None:
    level = purse.exhausted(needed)
    return (level.id, Breached(task.id, needed, purse.coming(level))) if level is not None else None
