"""A what-if: the log replayed in three lanes: what happened, the same rules again, and the rules that are asked about.

What happened is what the log says. The same rules again say how faithful the replay is, and how probable each choice
was. The rules asked about say what would have gone elsewhere; what would have come of that is estimated.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache

from msgspec.structs import replace

from callboard.actors.replay.candidate import Candidate
from callboard.actors.replay.changes import Changes, RulesAt
from callboard.actors.replay.outcomes import Outcomes
from callboard.actors.replay.reader import Reader
from callboard.actors.replay.remade import Remade, difference, policy_of, remade
from callboard.actors.replay.report import NOBODY_ASKED, NOTES, UNITS, Faithful, Moved, Report, metric
from callboard.actors.replay.units import Unit, evidence, unit
from callboard.actors.replay.walk import Recorded, Told, Walk
from callboard.actors.router.asking import TAGS
from callboard.actors.router.route import Rules
from callboard.events.task import Assigned, DeadLettered, Parked


async def what_if(reader: Reader, changes: Changes, rules_at: RulesAt, *, upto: int | None = None) -> Report:
    """What would have been, from the log's beginning to the sequence ``upto``, or its end.

    Raises InvalidInput for changes that name what is not there.
    """
    return (await what_ifs(reader, [changes], rules_at, upto=upto))[0]


async def what_ifs(
    reader: Reader, several: Sequence[Changes], rules_at: RulesAt, *, upto: int | None = None
) -> list[Report]:
    """The same of several worlds, to compare them: each decision is made again by the same rules only once."""
    rules_at = cache(rules_at)
    baseline, walk = Baseline(rules_at), Walk(reader, upto)
    worlds = [Lanes(changes, rules_at, baseline) for changes in several]
    await walk.look_ahead()
    for changes in several:
        changes.check(rules_at(None), walk.backends, walk.budgets)
    async for told in walk.events():
        for lanes in worlds:
            lanes.take(told)
    return [lanes.report(walk.upto, walk.lost) for lanes in worlds]


class Baseline:
    """The same rules again: each decision is made by the policy, and at the pace, that made it."""

    def __init__(self, rules_at: RulesAt) -> None:
        self._rules_at = rules_at
        self._rules: dict[tuple[int | None, str], Rules] = {}
        self._last: tuple[Recorded, Remade] | None = None

    def again(self, recorded: Recorded) -> Remade:
        """The decision; that on the one before is not worked out twice."""
        if self._last is None or self._last[0] is not recorded:
            self._last = recorded, remade(recorded, recorded.view, self._rules_of(recorded))
        return self._last[1]

    def why_other(self, recorded: Recorded) -> str:
        """In what it is not the one recorded; empty if it is."""
        return difference(recorded, self.again(recorded), self._rules_of(recorded))

    def _rules_of(self, recorded: Recorded) -> Rules:
        pace = recorded.assigned.decision.pace if recorded.assigned else None
        rules = self._rules_at(pace)
        key = (pace, policy_of(recorded, rules))
        if key not in self._rules:
            self._rules[key] = replace(rules, default=key[1])
        return self._rules[key]


class Lanes:
    """The three lanes, event by event."""

    def __init__(self, changes: Changes, rules_at: RulesAt, baseline: Baseline) -> None:
        self._baseline = baseline
        self._changes = changes
        self._candidate = Candidate(changes, rules_at)
        self._outcomes = Outcomes(changes)
        self.units: list[Unit] = []
        """The decisions that estimates are made from."""
        self._unplaced = 0
        self._freed: set[str] = set()
        self._identical: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._moved: Counter[tuple[str, str]] = Counter()

    def take(self, told: Told) -> None:
        """One event."""
        if told.envelope.kind != "task":
            return
        if told.decision is not None and told.decision.assigned is not None:
            self._decided(told, told.decision, told.decision.assigned)
        elif told.decision is not None:
            self._refused(told.decision)
        self._outcomes.see(told)
        self._candidate.see(told)

    def report(self, upto: int, lost: int) -> Report:
        """What was found."""
        by_task = self._outcomes.by_task
        ended = [one for one in self.units if by_task[one.task].ended]
        count = self._identical
        faithful = Faithful(
            decisions=count["decisions"],
            identical=count["identical"],
            same=count["same"],
            reasons=dict(self._reasons.most_common()),
            lost=lost,
            refusals=count["refusals"],
            alike=count["alike"],
        )
        moved = tuple(Moved(*pair, number) for pair, number in self._moved.most_common())
        return Report(
            upto=upto,
            faithful=faithful,
            decisions=sum(one.decisions for one in moved),
            elsewhere=sum(one.decisions for one in moved if one.before != one.after),
            moved=moved,
            units=len(ended),
            unplaced=self._unplaced,
            freed=len(self._freed),
            open=len(self.units) - len(ended),
            budgets=dict(self._candidate.budgets),
            spent={name: self._candidate.ledger.spent(name) for name in self._changes.budgets},
            notes=NOTES if self._changes.policy != "agent" else (*NOTES, NOBODY_ASKED),
            metrics=tuple(metric(name, evidence(ended, by_task, name), faithful) for name in UNITS),
        )

    def _decided(self, told: Told, recorded: Recorded, event: Assigned) -> None:
        baseline = self._baseline.again(recorded)
        candidate = self._candidate.decide(recorded, baseline.look)
        self._identical["decisions"] += 1
        self._identical["same"] += baseline.backend == event.backend
        why = self._baseline.why_other(recorded)
        self._identical["identical"] += not why
        self._reasons.update([why] if why else ())
        self._moved[event.backend, candidate.backend if candidate else ""] += 1
        spec = recorded.task.spec
        if event.attempt != 1 or spec is None or not TAGS.isdisjoint(spec.tags):
            return
        found = unit(recorded.task.id, event, baseline, candidate) if candidate else None
        if found is None:
            self._unplaced += 1
        else:
            self.units.append(found)
            self._outcomes.begin(told)

    def _refused(self, recorded: Recorded) -> None:
        """A task that was parked, rejected or given up; of those for want of money only the other world decides."""
        event = recorded.envelope.event
        if isinstance(event, Parked) and event.asks:
            return
        money = isinstance(event, Parked) and event.budget is not None
        money = money or (isinstance(event, DeadLettered) and event.reason.startswith("budget "))
        if self._candidate.frees(recorded, money=money):
            self._freed.add(recorded.task.id)
        if money:
            return
        self._identical["refusals"] += 1
        self._identical["alike"] += not self._baseline.why_other(recorded)
