"""The ledger against the calls: each was booked once, at the price of its time, and all sums are those of the calls."""

from typing import NamedTuple

from callboard.events import task
from callboard.events.cascade import Answered
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope
from callboard.events.money import dollars
from callboard.events.placement import Hedged
from callboard.events.task import Task
from callboard.events.task_spec import Hold
from callboard.projections.audit.findings import Findings
from callboard.projections.audit.fleet import Fleet
from callboard.projections.cost import COST, Cost

BY_HAND = "told by hand"
LISTED = 20


class Placing(NamedTuple):
    """A backend was given a task, on what was known at ``seen``; ``void``: from a lease that was sealed already."""

    seen: int
    hold: Hold | None
    void: bool


class Call(NamedTuple):
    """A call that began in the message ``seq``, stored at ``time_ns``, decided on what was known at ``seen``."""

    backend: str
    seen: int
    seq: int
    time_ns: int
    hold: Hold | None


class Ledger:
    """The fold. ``cost`` is the projection of costs over the same events, which has to come to the same sums."""

    def __init__(self, findings: Findings, fleet: Fleet) -> None:
        self._findings = findings
        self._fleet = fleet
        self.placed: dict[str, dict[str, Placing]] = {}
        self.calls: dict[str, Call] = {}
        self.projected: Cost = COST.initial()
        self.total = 0
        self.booked = 0
        self.by_hand = 0
        self._by_hand_at = 0
        self._by_backend: dict[str, int] = {}

    def place(self, name: str, event: task.Assigned | Hedged, *, void: bool) -> None:
        """A backend is given a task."""
        hold = event.hold if isinstance(event, task.Assigned) else None
        placing = Placing(event.decision.seen, hold, void)
        if isinstance(event, Hedged):
            self.placed.setdefault(name, {})[event.backend] = placing
        else:
            self.placed[name] = {event.backend: placing}

    def start(self, seq: int, time_ns: int, subject: str, name: str, before: Task, event: task.Started) -> Call | None:
        """A call begins."""
        if event.call != before.call + 1:
            told = (
                f"call {event.call} of task {name} begins after call {before.call}: a number is missing, or there twice"
            )
            self._findings.add("call", seq, told, subject, f"task/{name}")
        placing = self.placed.get(name, {}).get(event.backend)
        if placing is None:
            told = f"call {event.call} of task {name} begins on {event.backend}, which was not given the task"
            self._findings.add("call", seq, told, subject, f"task/{name}")
            placing = Placing(seq - 1, None, void=False)
        call = self.calls[f"{name}/{event.call}"] = Call(event.backend, placing.seen, seq, time_ns, placing.hold)
        return call

    def book(
        self, seq: int, subject: str, name: str, event: task.Completed | Answered | task.Failed | task.Spent
    ) -> Call | None:
        """A call's cost is told; the call, None if there is none to be told of."""
        self.total += event.cost
        self.booked += 1
        self._by_backend[event.backend] = self._by_backend.get(event.backend, 0) + event.cost
        call = self.calls.pop(f"{name}/{event.call}", None)
        entity = f"task/{name}"
        if call is None:
            told = f"call {event.call} of task {name} is booked, and there is no such call to be booked"
            self._findings.add("call", seq, told, subject, entity)
            return None
        if call.backend != event.backend:
            told = f"call {event.call} of task {name} was made on {call.backend}, and is booked on {event.backend}"
            self._findings.add("call", seq, told, subject, entity)
        elif isinstance(event, task.Spent) and event.reason == BY_HAND and event.usage == Usage():
            self.by_hand += 1
            self._by_hand_at = self._by_hand_at or seq
        elif event.cost < 0 or not self._fleet.is_price_of(
            call.backend, call.seen, call.seq, call.time_ns, event.usage, event.cost
        ):
            price, used = self._fleet.prices(call.backend, call.seen, call.seq, call.time_ns)[-1], event.usage
            told = (
                f"call {event.call} of task {name} was booked at {dollars(event.cost)}; at the price of {call.backend} "
                f"when it began, {used.input} tokens in and {used.output} out cost {dollars(price.cost(used))}"
            )
            self._findings.add("cost", seq, told, subject, entity)
        return call

    def project(self, envelope: Envelope) -> None:
        """Fold the projection that `callboard costs` shows."""
        self.projected = COST.apply(self.projected, envelope)

    def finish(self, last: int, running: frozenset[str]) -> tuple[int, int]:
        """After the last message: how many calls are under way, and of how many nobody told the cost."""
        sums = {name: line.cost for name, line in self.projected.by_backend.items()}
        if self.projected.total.cost != self.total or {k: v for k, v in sums.items() if v} != {
            k: v for k, v in self._by_backend.items() if v
        }:
            told = (
                f"the calls cost {dollars(self.total)} in all, and the ledger comes to "
                f"{dollars(self.projected.total.cost)}"
            )
            self._findings.add("sums", last, told)
        unknown = [key for key in self.calls if key not in running]
        for key in unknown[:LISTED]:
            call = self.calls[key]
            task_id, _, number = key.rpartition("/")
            told = f"nobody has told what call {number} of task {task_id} on {call.backend} cost: it is in no sum"
            self._findings.add("unknown-cost", call.seq, told, "", f"task/{task_id}")
        if self.by_hand:
            told = f"the cost of {self.by_hand} calls was told by a person, since nobody saw their end"
            self._findings.add("by-hand", self._by_hand_at, told)
        return len(self.calls) - len(unknown), len(unknown)
