"""The other world: each decision made again as it would have been with the changes asked for.

It sees what the log's router saw: the loads, and what was learned, are those of the world that was. Money is its own:
what its choices would have spent, as billed where the log's choice is the same, else as predicted, paces it and fills
budgets.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.replay.changes import Changes, RulesAt
from callboard.actors.replay.ledger import Ledger
from callboard.actors.replay.remade import Remade, policy_of, prefix, remade, seed
from callboard.actors.replay.walk import Recorded, States, Told
from callboard.actors.router.funding import Purse, chances, fund
from callboard.actors.router.route import Look, Rules, View, Weighed
from callboard.events import task as tasks
from callboard.events.backend import Backend
from callboard.events.cascade import Answered
from callboard.events.money import Price
from callboard.events.task import Assigned, DeadLettered, Parked
from callboard.projections import pace
from callboard.projections.backends import BACKENDS
from callboard.projections.budgets import BUDGETS
from callboard.projections.pace import EVERY, Pace


class _Placed(Struct):
    """Where a task would be, what that is predicted to cost, and what of it still counts in the balance."""

    backend: str
    cost: int
    booked: int


class Candidate:
    """One other world. ``budgets`` counts tasks ``stopped``, ``asked`` about, let wait (``waited``), ``degraded``."""

    def __init__(self, changes: Changes, rules_at: RulesAt) -> None:
        self.budgets: Counter[str] = Counter()
        self.ledger = Ledger(changes.budgets)
        self._changes = changes
        self._rules_at = rules_at
        self._rules: dict[tuple[int | None, str], Rules] = {}
        self._pace = Pace()
        self._offers: object = None
        self._placed: dict[str, _Placed] = {}
        self._ended: set[str] = set()
        self._backends: tuple[Mapping[str, Backend], Mapping[str, Backend]] = ({}, {})

    def decide(self, recorded: Recorded, look: Look | None = None) -> Remade | None:
        """The decision as it would have been; None if the task would have been given up before.

        ``look`` is that of the world that was: it is the same here unless backends or prices are others.
        """
        task = recorded.task
        if task.id in self._ended:
            return None
        spec, view, rules = task.spec, self._view(recorded), self._rules_of(recorded)
        assert spec is not None
        purse = self.ledger.purse(recorded.before.of(BUDGETS), spec.budget)
        if purse is None:
            again = remade(recorded, view, rules, None if self._changes.prices or self._changes.without else look)
        else:
            again = self._funded(recorded, replace(view, unaffordable={}), rules, purse)
        if recorded.assigned is not None and isinstance(again.verdict, Assigned):
            self._place(recorded, again.verdict, purse)
        return again

    def frees(self, recorded: Recorded, *, money: bool) -> bool:
        """Whether a task would have been placed that was parked, refused or given up, for want of ``money`` or not.

        What it would have cost then is spent, unless the log goes on with it.
        """
        spec, task = recorded.task.spec, recorded.task.id
        purse = self.ledger.purse(recorded.before.of(BUDGETS), spec.budget if spec else None)
        if task in self._ended or (money and purse is None):
            return False
        view, rules = self._view(recorded), self._rules_of(recorded)
        if purse is None:
            return isinstance(remade(recorded, view, rules).verdict, Assigned)
        verdict = fund(recorded.task, view, rules, recorded.time, seed(recorded), purse, prefix(recorded)).verdict
        if not isinstance(verdict, Assigned):
            return False
        chosen = verdict.decision.candidates.of(verdict.backend)
        if isinstance(recorded.envelope.event, DeadLettered):
            self.ledger.hold(task, purse.levels, 0)
            self.ledger.settle(task, chosen.cost if chosen else 0)
        return True

    def see(self, told: Told) -> None:
        """What happened to a task: its call may have ended, at a cost."""
        event = told.envelope.event
        placed = self._placed.get(told.envelope.entity)
        if placed is None:
            return
        match event:
            case tasks.Completed(booked=False) | Answered() | tasks.Failed() | tasks.Spent():
                cost, same = placed.cost, event.backend == placed.backend
                if same:
                    price = _price(told.before, event.backend)
                    cost = round(self._changes.paid(event.backend, event.usage, event.cost, price))
                    self._pace = pace.settled(self._pace, placed.booked, cost)
                    placed.booked = 0
                self.ledger.settle(told.envelope.entity, cost)
            case tasks.Cancelled() | tasks.Expired() | tasks.DeadLettered():
                self.ledger.settle(told.envelope.entity, 0)
                self._pace = pace.settled(self._pace, placed.booked, 0)
                del self._placed[told.envelope.entity]
        if isinstance(event, tasks.Completed):
            del self._placed[told.envelope.entity]

    def _view(self, recorded: Recorded) -> View:
        view = recorded.view
        if self._backends[0] is not view.backends:
            self._backends = view.backends, self._changes.backends(view.backends)
        learning = view.learning
        if learning.offers is not self._offers:  # what was saved is not spent at other prices; see `Learning`
            self._offers = learning.offers
            self._pace = replace(self._pace, balance=min(self._pace.balance, 0), since=EVERY)
        return replace(view, backends=self._backends[1], learning=replace(learning, pace=self._pace))

    def _rules_of(self, recorded: Recorded) -> Rules:
        """As they are set; but what is not asked to be another is as it was when this was decided."""
        changes, decision = self._changes, recorded.assigned.decision if recorded.assigned else None
        at = changes.pace
        if at is None and decision is not None and not changes.policy:
            at = decision.pace
        rules = self._at(at, "")
        return self._at(at, changes.policy or policy_of(recorded, rules))

    def _at(self, at: int | None, policy: str) -> Rules:
        if (at, policy) not in self._rules:
            rules = self._rules_at(at)
            self._rules[at, policy] = replace(rules, default=policy) if policy else rules
        return self._rules[at, policy]

    def _funded(self, recorded: Recorded, view: View, rules: Rules, purse: Purse) -> Remade:
        """The decision with the money that there would have been; one that has to wait for it is made all the same."""
        again = partial(fund, recorded.task, view, rules, recorded.time, seed(recorded))
        verdict = again(purse, prefix(recorded)).verdict
        found, shares = chances(recorded.task, view, rules, recorded.time, purse, prefix(recorded))
        if not isinstance(found, Weighed):
            return Remade(verdict)
        if isinstance(verdict, Parked) and verdict.budget and not verdict.breach:
            self.budgets["waited"] += 1
            return Remade(again(None, prefix(recorded)).verdict, found.chances(), found.found.options)
        if isinstance(verdict, Assigned):
            self.budgets["degraded"] += verdict.backend != found.drawn(seed(recorded)).backend
        elif isinstance(verdict, Parked | DeadLettered):
            self.budgets["asked" if isinstance(verdict, Parked) else "stopped"] += 1
            self._ended.add(recorded.task.id)
        return Remade(verdict, shares, found.found.options)

    def _place(self, recorded: Recorded, verdict: Assigned, purse: Purse | None) -> None:
        task, decision = recorded.task.id, verdict.decision
        chosen = decision.candidates.of(verdict.backend)
        cost = chosen.cost if chosen else 0
        before = self._placed.get(task)
        returned = before.booked if before else 0
        if decision.features and decision.pace:
            self._pace = pace.assigned(self._pace, verdict, cost, returned)
        self._placed[task] = _Placed(verdict.backend, cost, cost if decision.pace else 0)
        self.ledger.settle(task, before.cost if before else 0)
        if purse is not None and verdict.hold is not None:
            self.ledger.hold(task, purse.levels, verdict.hold.amount)


def _price(states: States, backend: str) -> Price:
    known = states.of(BACKENDS).by_id.get(backend)
    return known.price if known else Price()
