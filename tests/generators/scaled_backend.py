"""A backend whose replicas follow its load, second by second: a queue, lanes, and the real measuring and deciding."""

from collections import deque
from datetime import UTC, datetime, timedelta

from callboard.actors.scaling.decision import decide
from callboard.actors.scaling.demand import Trail, measured
from callboard.events import backend, task
from callboard.events.backend import Backend, BackendSpec, Scaled
from callboard.events.chat import Usage
from callboard.events.envelope import Envelope, Event
from callboard.events.scaling import Scaling
from callboard.events.task_spec import Candidates, Decision
from callboard.projections.load import LOAD, BackendLoad

START = datetime(2026, 11, 29, tzinfo=UTC)
NS = 1_000_000_000
TOKENS = 100


class World:
    """Calls come, wait, take so many seconds each, and end; what is decided takes effect ``start`` seconds later."""

    def __init__(self, rules: Scaling, *, replicas: int = 1, concurrency: int = 4, start: int = 0) -> None:
        self.rules = rules
        self.start = start
        self.now = 0
        self.load = LOAD.initial()
        self.backend = Backend("b")
        self.queue: deque[tuple[str, int, int]] = deque()
        self.running: list[tuple[int, str, int]] = []
        self.waits: list[int] = []
        self.changes: list[tuple[int, int, Scaled]] = []
        self.up: deque[tuple[int, int]] = deque([(0, replicas)])
        self.number = 0
        self.trail = Trail(START)
        spec = BackendSpec("callable", "m", concurrency=concurrency, scaling=rules)
        for event in (backend.Registered(spec), Scaled(replicas, "as configured")):
            self._of_backend(event)

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.now)

    @property
    def lanes(self) -> int:
        spec = self.backend.spec
        assert spec is not None
        return min(self.up[0][1], self.backend.replicas) * spec.concurrency

    def step(self, arrivals: int, seconds: int) -> None:
        """One second, in which so many calls come that take so many seconds each."""
        while len(self.up) > 1 and self.up[1][0] <= self.now:
            self.up.popleft()
        for _end, name, took in [one for one in self.running if one[0] <= self.now]:
            usage = Usage(TOKENS - 10, 10)
            self._of_task(name, task.Completed("b", 1, "", usage, 0, "m", first_token=1, duration=took * NS))
        self.running = [one for one in self.running if one[0] > self.now]
        for _ in range(arrivals):
            self.number += 1
            name = f"t{self.number}"
            decision = Decision("cheapest/1", "", 0, Candidates(), 0)
            self._of_task(name, task.Assigned("b", 1, TOKENS, decision, service=seconds * NS))
            self.queue.append((name, seconds, self.now))
        while self.queue and len(self.running) < self.lanes:
            name, takes, came = self.queue.popleft()
            self.waits.append(self.now - came)
            self._of_task(name, task.Started("b", 1, "w"))
            self.running.append((self.now + takes, name, takes))
        self.scale()
        self.now += 1

    def scale(self) -> Scaled | None:
        """Look, and do what is decided."""
        spec, load = self.backend.spec, self.load.backends.get("b", BackendLoad())
        assert spec is not None
        before = self.backend
        change = decide(before, measured(spec, self.rules, load, self.trail, self.at, self.number))
        if change:
            assert change.demand is not None
            assert decide(before, change.demand) == change
            self.changes.append((self.now, before.replicas, change))
            self._of_backend(change)
            self.up.append((self.now + self.start, change.replicas))
        return change

    def _of_backend(self, event: backend.BackendEvent) -> None:
        self.backend = backend.evolve(self.backend, event)
        self._fold("backend/b", event)

    def _of_task(self, name: str, event: task.TaskEvent) -> None:
        self._fold(f"task/{name}", event)

    def _fold(self, subject: str, event: Event) -> None:
        self.load = LOAD.apply(self.load, Envelope("e", "w", subject, self.at, event, 1))
