"""The audit: one fold over all messages of the log, and what it finds. Pure.

It keeps of each entity what its rules need, and of the log's texts nothing: some 320 bytes for each task that has
ended. A finding does not beget others: an entity whose chain was broken, or that did what it could not do, is
looked at no further but for its chain.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from callboard.events import task
from callboard.events.away import Away
from callboard.events.budget import Reserved
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope, Unknown, short_type
from callboard.events.errors import BudgetExceeded, CallboardError
from callboard.events.placement import Hedged
from callboard.events.shards import ALL as EVERY
from callboard.events.shards import Shards
from callboard.projections.audit.agents import Agents
from callboard.projections.audit.chains import Chains
from callboard.projections.audit.entities import KIND_OF, RULES, Entities, Entity
from callboard.projections.audit.findings import CHECKS, Check, Findings
from callboard.projections.audit.fleet import Fleet
from callboard.projections.audit.ledger import Ledger
from callboard.projections.audit.log_check import LogCheck
from callboard.projections.audit.money_rules import MoneyRules
from callboard.projections.audit.placing import Placings
from callboard.projections.audit.report import Checked, Head, Report
from callboard.projections.audit.slim import hides, slim
from callboard.projections.cost import COST
from callboard.projections.projection import dump

ALL: Final = frozenset(CHECKS)
NOTHING: Final = Away()
_BOOKS: Final = (task.Completed, task.Failed, task.Spent, Answered)


class Options(Struct, frozen=True):
    """What an audit is given beside the log.

    ``keys`` are trusted public keys in hex, ``heads`` those of earlier audits, ``only`` the checks that are wanted.
    ``snapshot`` is what is stored of the ledger, as (sequence, bytes). The log holds ``shards`` alone, and the messages
    of others up to ``split`` were taken ``away``, if it is one of several.
    """

    keys: frozenset[str] = frozenset()
    heads: tuple[Head, ...] = ()
    only: frozenset[Check] = ALL
    snapshot: tuple[int, bytes] | None = None
    shards: Shards = EVERY
    split: int = 0
    away: Away = NOTHING


class Audit:
    """The fold. Give it every message in the order of the log (`take`), then `finish` it."""

    def __init__(self, options: Options, checkpoints: Sequence[tuple[int, bytes]] = ()) -> None:
        self._options = options
        self.findings = Findings(options.only)
        self._entities = Entities()
        self._log = LogCheck(self.findings, checkpoints, options.keys, options.heads, options.away)
        self._chains = Chains(self.findings, self._entities)
        self._fleet = Fleet()
        self._ledger = Ledger(self.findings, self._fleet)
        self._money = MoneyRules(self.findings, self._fleet, options.split)
        self._placings = Placings(self.findings, self._fleet)
        self._agents = Agents(self.findings, self._entities, options.shards)
        self._deep = bool(options.only - {Check.LOG, Check.CHECKPOINTS})
        self._first = 0
        self._last = 0
        self._others = 0

    def take(self, seq: int, time_ns: int, subject: str, data: bytes) -> None:
        """The next message, as it is stored."""
        self._first = self._first or seq
        self._log.take(seq, time_ns, subject, data)
        if seq <= self._last:
            return  # it is there twice: that is told, and it happened once
        self._last = seq
        if seq <= self._options.split and not self._is_ours(subject):
            self._others += 1
            return
        if seq > self._options.split:
            self._money.after_split()
        if self._deep and (found := self._chains.take(seq, subject, data)):
            key, entity, envelopes = found
            for envelope in envelopes:
                if not isinstance(envelope.event, Unknown):
                    self._judge(seq, time_ns, subject, key, entity, envelope)
            self._entities.keep(key, entity)
        if self._options.snapshot and self._options.snapshot[0] == seq:
            self._compare_snapshot(seq, self._options.snapshot[1])

    def finish(self, archived: int = 0, both: int = 0, *, partial: bool = False) -> Report:
        """After the last message; ``archived`` of them came from the archive, ``both`` were there and in the stream.

        ``partial``: the log goes on.
        """
        log, ledger = self._log, self._ledger
        if not partial:
            log.finish()
        if gone := log.away + self._others:
            shards, seq = self._options.shards, self._options.split
            told = f"{gone:,} messages of other shards than {shards}, which this log holds, were split away at {seq:,}"
            self.findings.add("split", self._options.split, told)
        running = unknown = 0
        if self._deep:
            self._chains.finish()
            open_calls = {
                f"{name}/{one.call}"
                for name, state in self._entities.of_kind("task").items()
                for one in state.placed
                if one.call
            }
            running, unknown = ledger.finish(self._last, frozenset(open_calls))
            if not self.findings.altered:  # else sums can't be what they were
                self._money.finish(self._last)
            self._placings.finish()
        checked = Checked(
            messages=log.messages,
            events=self._chains.events,
            entities=len(self._entities),
            first=self._first,
            last=self._last,
            archived=archived,
            both=both,
            checkpoints=log.checkpoints,
            covered=log.covered,
            calls=ledger.booked,
            cost=ledger.total,
            running=running,
            unknown=unknown,
            by_hand=ledger.by_hand,
            assignments=self._placings.assignments,
            leases=self._money.leases,
            approvals=len(self._entities.of_kind("approval")),
            keys=tuple(log.keys),
            pinned=bool(self._options.keys),
            head_of=max((head.size for head in self._options.heads), default=0),
        )
        found = tuple(sorted(self.findings.found, key=lambda finding: finding.seq))
        checks = tuple(check for check in CHECKS if check in self._options.only)
        result = "findings" if self.findings.bad else "clean"
        return Report(result, checked, self.findings.counts, found, log.head, checks)

    def _is_ours(self, subject: str) -> bool:
        """Whether a message from before the split, which the archive may have, is of what stayed here."""
        parts = subject.split(".")
        return len(parts) < 5 or self._options.shards.holds(parts[2], parts[3])

    def _judge(self, seq: int, time_ns: int, subject: str, key: str, entity: Entity, envelope: Envelope) -> None:
        """Whether an event may be, by the rules of its entity and by those between entities; then fold it."""
        rules, kind = RULES.get(envelope.kind), envelope.kind
        before, event = entity.state, slim(envelope.event)
        if rules is None or before is None or KIND_OF[type(event)] != kind:  # told by its subject
            return
        if entity.judged:
            self._check_legal(seq, subject, key, entity, event)
        self.findings.muted = not entity.judged
        if kind == "agent":
            self._agents.take(seq, subject, envelope, before)
        elif kind == "approval":
            self._agents.approval(seq, subject, envelope, before)
        elif kind == "budget":
            self._money.told(seq, subject, envelope)
        after = entity.state = rules.evolve(before, event)
        if kind == "backend":
            self._fleet.take(seq, time_ns, after)
        elif kind == "task":
            self._judge_task(seq, time_ns, subject, envelope, before, after)
        if kind in {"task", "budget"}:
            self._money.fold(envelope)
            self._ledger.project(envelope)
        self.findings.muted = False

    def _check_legal(self, seq: int, subject: str, key: str, entity: Entity, event: Any) -> None:
        kind, told = "illegal", ""
        if hides(event):  # it may look as if it said nothing new
            return
        try:
            decided = RULES[key.partition("/")[0]].decide(entity.state, event)
            if not decided:
                told = "it says nothing new, and such is never written"
            elif decided[0] is not event and [*decided] != [event]:
                told = f"{short_type(decided[0])} would have been written instead"
        except BudgetExceeded as error:
            kind, told = "over-budget", str(error)
        except CallboardError as error:
            told = str(error)
        if told:
            entity.judged = isinstance(event, Reserved)
            self.findings.add(kind, seq, f"{short_type(event)} can't follow here: {told}", subject, key)

    def _judge_task(
        self, seq: int, time_ns: int, subject: str, envelope: Envelope, before: task.Task, after: task.Task
    ) -> None:
        event, name = envelope.event, envelope.entity
        match event:
            case task.Submitted():
                return
            case task.Assigned():
                self._placings.take(seq, subject, name, before, event)
                void = self._money.assigned(seq, subject, name, before, event)
                self._ledger.place(name, event, void=void)
            case Hedged():
                self._placings.take(seq, subject, name, before, event)
                self._ledger.place(name, event, void=False)
            case task.Started():
                placing = self._ledger.placed.get(name, {}).get(event.backend)
                void = placing is not None and placing.void
                if call := self._ledger.start(seq, time_ns, subject, name, before, event):
                    self._money.started(seq, subject, name, call, void=void)
            case task.Completed(booked=True):
                pass
            case task.Completed() | task.Failed() | task.Spent() | Answered():
                if call := self._ledger.book(seq, subject, name, event):
                    self._money.paid(call, event.cost)
        if not after.placed:
            self._ledger.placed.pop(name, None)

    def _compare_snapshot(self, seq: int, stored: bytes) -> None:
        if self._deep and dump(COST, self._ledger.projected, seq) != stored:
            told = f"the ledger that is shown, as of message {seq:,}, is not what the log comes to"
            self.findings.add("sums", seq, told)
