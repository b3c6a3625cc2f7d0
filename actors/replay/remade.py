"""A decision made again by the real router code, and how it differs from the one that the log has. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.replay.changes import named
from callboard.actors.replay.walk import Recorded
from callboard.actors.router.options import Option
from callboard.actors.router.prefix import prefix_of
from callboard.actors.router.route import Look, Rules, Verdict, View, Weighed, seed_of, surveyed, weighed
from callboard.actors.router.twins import Shares
from callboard.events.task import Assigned

MOMENT: Final = 0.001
"""What a latency may be off, of itself."""


class Remade(Struct, frozen=True):
    """What came of it: the ``verdict``, how probable each backend was in parts per million, and the options for it.

    ``look`` is what it was weighed by, if it came to that.
    """

    verdict: Verdict
    chances: Mapping[str, int] = {}
    options: tuple[Option, ...] = ()
    look: Look | None = None

    @property
    def backend(self) -> str:
        """Who got the task; empty if nobody did."""
        return self.verdict.backend if isinstance(self.verdict, Assigned) else ""


def remade(recorded: Recorded, view: View, rules: Rules, look: Look | None = None) -> Remade:
    """The decision on a view, at the recorded time, by the recorded seed; ``look`` is that at the view, if known."""
    look = look or _look(recorded, view)
    found = weighed(recorded.task, view, rules, recorded.time, prefix(recorded), look)
    if not isinstance(found, Weighed):
        return Remade(found)
    found = replace(found, shares=_once(found.shares))
    return Remade(found.drawn(seed(recorded)), found.chances(), found.found.options, found.look)


def _look(recorded: Recorded, view: View) -> Look | None:
    """The look by the features that were recorded: what was learned is about these, also if others are made today."""
    looks = recorded.assigned.decision.features if recorded.assigned else b""
    return Look(looks, surveyed(recorded.task, view, looks, prefix(recorded), recorded.time)) if looks else None


def _once(shares: Shares) -> Shares:
    """The same shares, worked out once for the same options: it is most of a decision."""
    known: dict[tuple[str, ...], Sequence[int]] = {}

    def remembered(among: Sequence[Option]) -> Sequence[int]:
        names = tuple(option.backend for option in among)
        if names not in known:
            known[names] = shares(among)
        return known[names]

    return remembered


def seed(recorded: Recorded) -> int:
    """The seed that it was made with."""
    return recorded.assigned.decision.seed if recorded.assigned else seed_of(recorded.task)


def prefix(recorded: Recorded) -> bytes:
    """The marks of the prompt's beginnings."""
    assert recorded.task.spec is not None
    return recorded.assigned.decision.prefix if recorded.assigned else prefix_of(recorded.task.spec)


def policy_of(recorded: Recorded, rules: Rules) -> str:
    """The name of the policy that decided; what the log says if there is none of that name and version here."""
    if recorded.assigned is None:
        return rules.default
    return named(rules, recorded.assigned.decision.policy) or recorded.assigned.decision.policy


def difference(recorded: Recorded, again: Remade, rules: Rules) -> str:
    """In what a decision that was made again by the same rules is not the one recorded; empty if it is.

    Of several differences it is the first in the order in which a decision is made. The moment of a decision is known
    a little late, by when it was written down: a latency that depends on it may be off by `MOMENT`.
    """
    event, verdict = recorded.assigned, again.verdict
    if event is None:
        same = isinstance(verdict, type(recorded.envelope.event))
        return "" if same else "it would not have had to wait, or be refused"
    before = event.decision
    if named(rules, before.policy) is None:
        return f"policy {before.policy} is not here"
    if not isinstance(verdict, Assigned):
        return f"it would have been {type(verdict).type.split('.')[2]}"
    after = verdict.decision
    checks = (
        ("other backends could do it", _same(before.candidates.backends, after.candidates.backends)),
        ("what answers cost is predicted otherwise", _same(before.candidates.costs, after.candidates.costs)),
        ("latencies are predicted otherwise", _near(before.candidates.latencies, after.candidates.latencies)),
        ("qualities are predicted otherwise", _same(before.candidates.qualities, after.candidates.qualities)),
        ("money counts otherwise", _same(before.money, after.money)),
        ("the probability is another, by other settings", _same(before.propensity, after.propensity)),
        ("another backend is chosen, by other settings", _same(event.backend, verdict.backend)),
    )
    return next((reason for reason, same in checks if not same), "")


def _near(before: Sequence[int], after: Sequence[int]) -> bool:
    return all(abs(one - other) <= MOMENT * one for one, other in zip(before, after, strict=True))


def _same(before: object, after: object) -> bool:
    return before == after
