"""Budgets: money is held before it is spent, from leases that are open, and settled at what was paid from them.

What happened inside of a lease is folded by the projection of budgets, as routers and workers do; what was paid from it
is added up here once more, call by call. A lease is settled by somebody who has read the log up to some point after its
seal: what is told has to be what was true at such a point.
"""

from datetime import timedelta
from typing import Final

from callboard.events import budget, task
from callboard.events.envelope import Envelope
from callboard.events.money import dollars
from callboard.events.task import Task
from callboard.events.task_spec import Hold
from callboard.projections.audit.findings import Findings
from callboard.projections.audit.fleet import Fleet
from callboard.projections.audit.ledger import Call
from callboard.projections.budgets import BUDGETS, Budgets, Lease, chain

UNTOLD: Final = timedelta(seconds=3600 - 60)
"""A call is taken to have cost what was held for it after an hour; clocks may differ a little."""


class MoneyRules:
    """The fold.

    Where others' tasks were taken away after the message ``split``, what was settled until then can't be added up any
    more: of each budget only what changes from then on is compared.
    """

    def __init__(self, findings: Findings, fleet: Fleet, split: int = 0) -> None:
        self._split = split
        self._apart: dict[str, int] | None = None if split else {}
        self._findings = findings
        self._fleet = fleet
        self.state: Budgets = BUDGETS.initial()
        self.leases = 0
        self._chains: dict[str, tuple[str, ...]] = {}
        self._levels: dict[str, list[str]] = {}
        self._paid: dict[str, int] = {}
        self._over: dict[str, int] = {}
        self._truths: dict[str, set[tuple[int, int]]] = {}
        self._by_budget: dict[str, int] = {}

    def assigned(self, seq: int, subject: str, name: str, before: Task, event: task.Assigned) -> bool:
        """A task is assigned, before that is folded; whether its money was called back already."""
        hold, spec = event.hold, before.spec
        wanted = spec.budget if spec else None
        if wanted != (hold.budget if hold else None):
            paid = f"paid from {hold.budget}" if hold else "not paid from any"
            told = (
                f"task {name} has the {f'budget {wanted}' if wanted else 'wish for no budget'}, and its call is {paid}"
            )
            self._add("unfunded", seq, subject, name, told)
        if hold is None:
            return False
        if not hold.lease:
            if hold.amount:
                told = f"{dollars(hold.amount)} are held for task {name}, and no lease is named that they are from"
                self._add("unfunded", seq, subject, name, told)
            return False
        lease = self.state.leases.get(hold.lease)
        if lease is None and hold.lease not in self._chains:
            told = f"task {name} is paid from a lease that was never reserved"
            self._add("unfunded", seq, subject, name, told)
        if lease is None or lease.sealed:
            return True
        self._check_lease(seq, subject, name, hold, lease)
        return False

    def started(self, seq: int, subject: str, name: str, call: Call, *, void: bool) -> None:
        """A call begins that money is held for."""
        hold = call.hold
        if hold is None:
            return
        if void:
            told = f"a call of task {name} began although its money was called back before it was assigned"
            self._add("after-seal", seq, subject, name, told)
        prices = self._fleet.prices(call.backend, call.seen, call.seq, call.time_ns)
        if all(price.ceiling(hold.input, hold.output) > hold.amount for price in prices):
            told = (
                f"{dollars(hold.amount)} were held for a call of task {name}, which may cost more, at its time's price"
            )
            self._add("too-small", seq, subject, name, told)

    def paid(self, call: Call, cost: int) -> None:
        """A call's cost is told."""
        if call.hold is None or not call.hold.lease:
            return
        lease = call.hold.lease
        self._paid[lease] = self._paid.get(lease, 0) + cost
        self._over[lease] = self._over.get(lease, 0) + max(cost - call.hold.amount, 0)
        for level in self._levels.get(lease, ()):
            self._by_budget[level] = self._by_budget.get(level, 0) + cost

    def told(self, seq: int, subject: str, envelope: Envelope) -> None:
        """Something happens to a budget, before that is folded."""
        event = envelope.event
        match event:
            case budget.Reserved():
                self._reserved(envelope.entity, event)
            case budget.Settled():
                self._settled(seq, subject, envelope, event)
            case budget.Refunded():
                self._settled(seq, subject, envelope, budget.Settled(event.hold, 0))

    def fold(self, envelope: Envelope) -> None:
        """Fold the projection, and note what is true of leases that are sealed."""
        before = self.state
        if envelope.kind == "task" and not _moves_money(envelope, before):
            return
        after = self.state = BUDGETS.apply(before, envelope)
        if after is not before and after.leases is not before.leases:
            self._note(envelope, before)

    def after_split(self) -> None:
        """All that follows was said after others' tasks were taken away."""
        if self._apart is None:
            self._apart = self._beyond()

    def finish(self, last: int) -> None:
        """After the last message."""
        self.after_split()
        apart = self._apart or {}
        for name, beyond in self._beyond().items():
            if beyond != apart.get(name, 0):
                paid = self._by_budget.get(name, 0)
                told = (
                    f"calls paid from budget {name} cost {dollars(paid)}, and it was settled for "
                    f"{dollars(max(paid + beyond - apart.get(name, 0), 0))}"
                )
                self._findings.add("settlement", last, told, "", f"budget/{name}")

    def _beyond(self) -> dict[str, int]:
        """By budget, how much more was settled than its calls cost, if all leases were settled now."""
        beyond: dict[str, int] = {}
        for name, each in self.state.by_id.items():
            open_holds = sum(
                self.state.leases[hold].realised - held.settled
                for hold, held in each.holds.items()
                if hold in self.state.leases
            )
            beyond[name] = each.settled + open_holds - self._by_budget.get(name, 0)
        return beyond

    def _check_lease(self, seq: int, subject: str, name: str, hold: Hold, lease: Lease) -> None:
        if lease.budget != hold.budget:
            told = f"task {name} has the budget {hold.budget}, and is paid from a lease of {lease.budget}"
            self._add("unfunded", seq, subject, name, told)
        if missing := [level for level in self._chains.get(hold.lease, ()) if level not in lease.levels]:
            told = f"task {name} is paid from a lease that is not held by {', '.join(missing)}, above {hold.budget}"
            self._add("unfunded", seq, subject, name, told)
        within = lease.realised - self._over.get(hold.lease, 0)
        spoken_for = within + lease.outstanding + lease.unknown + hold.amount
        if spoken_for > lease.amount:
            told = (
                f"the call of task {name} may cost {dollars(hold.amount)}, and the lease that pays it, of "
                f"{dollars(lease.amount)}, has only {dollars(max(lease.amount - spoken_for + hold.amount, 0))} left"
            )
            self._add("overdrawn", seq, subject, name, told)

    def _reserved(self, name: str, event: budget.Reserved) -> None:
        leaf = event.budget or name
        if event.hold not in self._chains:
            self.leases += 1
            self._chains[event.hold] = tuple(level.id for level in chain(self.state.by_id, leaf))
        levels = self._levels.setdefault(event.hold, [])
        if name not in levels:
            levels.append(name)

    def _settled(self, seq: int, subject: str, envelope: Envelope, event: budget.Settled) -> None:
        name, lease = envelope.entity, self.state.leases.get(event.hold)
        entity = f"budget/{name}"
        if lease is None:
            return  # it held nothing for it: that is told as illegal
        if seq <= self._split:
            return
        if not lease.sealed:
            told = f"budget {name} is settled for a lease that is still open"
            self._findings.add("settlement", seq, told, subject, entity)
            return
        told_so = (event.amount - event.assumed, event.kept + event.assumed)
        early = event.assumed and all(each.since > envelope.time - UNTOLD for each in lease.untold.values())
        if told_so not in self._truths.get(event.hold, {(lease.realised, lease.outstanding + lease.unknown)}) or (
            early and lease.untold
        ):
            told = (
                f"budget {name} is settled at {dollars(event.amount)} with {dollars(event.kept)} kept; calls from that "
                f"lease cost {dollars(lease.realised)}, {dollars(max(lease.outstanding + lease.unknown, 0))} is held"
            )
            self._findings.add("settlement", seq, told, subject, entity)
        elif not event.kept and not event.assumed and event.amount != (paid := self._paid.get(event.hold, 0)):
            told = f"budget {name} is settled at {dollars(event.amount)}, and the calls from it cost {dollars(paid)}"
            self._findings.add("settlement", seq, told, subject, entity)

    def _note(self, envelope: Envelope, before: Budgets) -> None:
        """What may be told of a lease, from its seal on."""
        held = self._lease_of(envelope, before)
        lease = self.state.leases.get(held) if held else None
        if held is None:
            return
        if lease is None:
            self._truths.pop(held, None)
            for kept in (self._over, self._paid):
                kept.pop(held, None)
        elif lease.sealed:
            truths = self._truths.setdefault(held, set())
            truths.add((lease.realised, lease.outstanding + lease.unknown))

    def _lease_of(self, envelope: Envelope, before: Budgets) -> str | None:
        event, name = envelope.event, envelope.entity
        if envelope.kind == "budget":
            return getattr(event, "hold", None)
        if isinstance(event, task.Spent):
            return before.untold.get(f"{name}/{event.call}")
        charge = before.charges.get(name) or self.state.charges.get(name)
        return charge.lease if charge else None

    def _add(self, kind: str, seq: int, subject: str, name: str, told: str) -> None:
        self._findings.add(kind, seq, told, subject, f"task/{name}")


def _moves_money(envelope: Envelope, state: Budgets) -> bool:
    """Whether an event of a task can change anything about budgets: most tasks have none."""
    event, name = envelope.event, envelope.entity
    if isinstance(event, task.Assigned) and event.hold:
        return True
    if isinstance(event, task.Spent | task.Parked):
        return True
    return name in state.charges or name in state.waiting
