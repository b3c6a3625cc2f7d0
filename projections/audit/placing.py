"""Every task went to a backend that could have it, as the router saw them.

A router decides on the log as far as it has read it, and its decision says how far (``seen``). What was drained or
removed between that and the decision, it could not know: that is no fault, and counted as a note.
"""

from callboard.events import task
from callboard.events.backend import BackendSpec
from callboard.events.money import dollars
from callboard.events.placement import Hedged
from callboard.events.task import Task
from callboard.events.task_spec import TaskSpec
from callboard.projections.audit.findings import Findings
from callboard.projections.audit.fleet import Fleet


class Placings:
    """The fold over assignments and hedges."""

    def __init__(self, findings: Findings, fleet: Fleet) -> None:
        self._findings = findings
        self._fleet = fleet
        self.assignments = 0
        self._meanwhile = 0
        self._meanwhile_at = 0

    def take(self, seq: int, subject: str, name: str, before: Task, event: task.Assigned | Hedged) -> None:
        """A task is given to a backend."""
        self.assignments += 1
        decision, backend, spec = event.decision, event.backend, before.spec
        if decision.seen >= seq:
            told = f"task {name} was assigned in message {seq}, by a decision that claims to have seen {decision.seen}"
            self._add("decision", seq, subject, name, told)
        if event.attempt != before.attempt + 1:
            told = f"task {name} was assigned for the {event.attempt}. time after the {before.attempt}."
            self._add("decision", seq, subject, name, told)
        standing = self._fleet.at(backend, decision.seen)
        if standing.spec is None:
            told = f"task {name} went to {backend}, not registered as far as its router read ({decision.seen})"
            self._add("backend", seq, subject, name, told)
            return
        if standing.draining:
            told = f"task {name} went to {backend}, draining as far as its router read ({decision.seen})"
            self._add("draining", seq, subject, name, told)
        elif decision.seen < seq:
            now = self._fleet.at(backend, seq)
            if now.spec is None or now.draining:
                self._meanwhile += 1
                self._meanwhile_at = self._meanwhile_at or seq
        if spec is not None:
            self._check_fit(seq, subject, name, backend, spec, standing.spec)
        self._check_choice(seq, subject, name, before, event)

    def finish(self) -> None:
        """After the last message."""
        if self._meanwhile:
            told = (
                f"{self._meanwhile} tasks went to a backend that was drained or removed before their router heard of it"
            )
            self._findings.add("meanwhile", self._meanwhile_at, told)

    def _check_fit(self, seq: int, subject: str, name: str, backend: str, spec: TaskSpec, offered: BackendSpec) -> None:
        needs = spec.needs
        if spec.backend is not None and spec.backend != backend:
            self._add("pin", seq, subject, name, f"task {name} is pinned to {spec.backend}, and went to {backend}")
        if missing := [each for each in needs.capabilities if each not in offered.capabilities]:
            told = f"task {name} needs {', '.join(missing)}, and went to {backend}, which does not offer that"
            self._add("capability", seq, subject, name, told)
        if needs.context is not None and needs.context > offered.context:
            told = f"task {name} needs a window of {needs.context} tokens, and {backend} has {offered.context}"
            self._add("capability", seq, subject, name, told)
        if missing := [each for each in needs.data_policy if each not in offered.data_policy]:
            told = f"task {name} may only go where {', '.join(missing)} is promised, which {backend} does not"
            self._add("data-policy", seq, subject, name, told)

    def _check_choice(self, seq: int, subject: str, name: str, before: Task, event: task.Assigned | Hedged) -> None:
        candidates, spec = event.decision.candidates, before.spec
        if not candidates.backends:
            return
        if event.backend not in candidates.backends:
            told = f"task {name} went to {event.backend}, which was no candidate of its decision"
            self._add("decision", seq, subject, name, told)
        elif spec is not None and spec.max_cost is not None:
            predicted = candidates.costs[candidates.backends.index(event.backend)]
            if before.charged + predicted > spec.max_cost:
                told = (
                    f"task {name} may cost {dollars(spec.max_cost)}, has cost {dollars(before.charged)}, and went to "
                    f"{event.backend} for another {dollars(predicted)}"
                )
                self._add("max-cost", seq, subject, name, told)

    def _add(self, kind: str, seq: int, subject: str, name: str, told: str) -> None:
        self._findings.add(kind, seq, told, subject, f"task/{name}")
