"""The simulation: a discrete-event loop in which the real decision code meets simulated servers in virtual time.

What happens is what happens in a node: every step is an event in a log, tasks and backends follow their own rules,
routers see projections of that log, some time later, and what they have just assigned themselves. Only servers, the
clock and the bus are simulated. Nothing is hedged or evicted, since there are no heartbeats. Where replicas follow the
load, somebody looks every second. The same arguments give the same events.
"""

import heapq
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from callboard.actors.router.own_assignments import OwnAssignments
from callboard.actors.router.route import View
from callboard.actors.simulation.fleet import NS_PER_S, Fleet
from callboard.actors.simulation.health import SimulatedHealth
from callboard.actors.simulation.measures import Measures
from callboard.actors.simulation.rules import Chooser
from callboard.actors.simulation.scaling import SimulatedScaler
from callboard.actors.simulation.server import End, Job, Run, Server
from callboard.actors.simulation.timeline import Timeline, at, since_start
from callboard.actors.simulation.trace import Arrival
from callboard.events import task as tasks
from callboard.events.backend import BackendEvent, Opened, Priced, Registered, Scaled
from callboard.events.chat import CHARACTERS_PER_TOKEN, Usage, estimated_tokens
from callboard.events.prefix import MARK, PLACES
from callboard.events.task import Assigned, Completed, Failed, Parked, Released, Started, Submitted, Task
from callboard.events.task_spec import Blob, Failure, TaskSpec
from callboard.projections.backends import BACKENDS
from callboard.projections.load import LOAD, BackendLoad
from callboard.projections.prefixes import PREFIXES
from callboard.projections.routers import ROUTERS

LOOK_NS: Final = NS_PER_S
SCATTER: Final = 0x9E3779B1
"""An odd factor: block numbers become marks, each one its own (Knuth's multiplicative hashing)."""


class Setup(Struct, frozen=True):
    """How many ``routers`` decide, how many ns later each sees what the others did, and the seed of all chance."""

    routers: int = 1
    view_delay: int = 0
    seed: int = 1


class _Open(Struct):
    """A task under way."""

    state: Task
    arrival: Arrival
    arrived: int
    router: int


class Simulation:
    """One run of a fleet under one way to choose; ``choosers`` makes one for each router."""

    def __init__(self, fleet: Fleet, choosers: Callable[[], Chooser], setup: Setup) -> None:
        self.servers = {name: Server(machine) for name, machine in fleet.items()}
        self.measures = Measures()
        self.last_arrival = 0
        self.last_end = 0
        self._setup = setup
        self._chance = random.Random(setup.seed)
        self._choosers = [choosers() for _ in range(setup.routers)]
        self._own = [OwnAssignments() for _ in range(setup.routers)]
        self.timeline = Timeline(setup.view_delay, self._folded)
        self._open: dict[str, _Open] = {}
        self._parked: dict[str, Parked] = {}
        self._looks: set[int] = set()
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0
        self._scalers = {
            name: SimulatedScaler(name, machine.spec, machine.replicas, at(0))
            for name, machine in fleet.items()
            if machine.scaling
        }
        self.scaled: list[tuple[int, Scaled]] = []
        self._more = True
        self._healths = {name: SimulatedHealth(name, machine.spec) for name, machine in fleet.items()}
        for name, machine in fleet.items():
            for event in (Registered(machine.spec), Priced(machine.price.price), Scaled(machine.replicas)):
                self._tell_backend(name, event, -setup.view_delay)

    def run(self, arrivals: Iterable[Arrival]) -> None:
        """Let all arrivals come, and every task end."""
        if self._scalers:
            self._plan(0, self._look_at_loads)
        for number, arrival in enumerate(arrivals):
            self._until(arrival.at)
            self.last_arrival = arrival.at
            self._arrive(f"t{number}", arrival)
        self._more = False
        self._until(None)
        for server in self.servers.values():
            server.count(self.last_end)
        assert not self._open, f"{len(self._open)} tasks never ended"

    def _until(self, now: int | None) -> None:
        """Do everything that is due by ``now``, or all there is."""
        while self._agenda and (now is None or self._agenda[0][0] <= now):
            due, _, action = heapq.heappop(self._agenda)
            action(due)

    def _plan(self, due: int, action: Callable[[int], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (due, self._count, action))

    def _arrive(self, task_id: str, arrival: Arrival) -> None:
        # an input in the blob store has a length and no text, as in a trace
        size = max(arrival.input - estimated_tokens(0), 0) * CHARACTERS_PER_TOKEN
        router = self._chance.randrange(self._setup.routers)
        self._open[task_id] = _Open(Task(task_id), arrival, arrival.at, router)
        self._tell(task_id, Submitted(TaskSpec(input=Blob("", size))), arrival.at, "client")
        self._decide(task_id, arrival.at)

    def _decide(self, task_id: str, now: int) -> None:
        self.timeline.see(now)
        one = self._open[task_id]
        own, chooser = self._own[one.router], self._choosers[one.router]
        own.drop(task_id)
        view = self._view(own)
        seed, prefix = self._chance.getrandbits(48), prefix_of(one.arrival.blocks)
        began = time.perf_counter_ns()
        verdict = chooser(one.state, view, at(now), seed, prefix)
        self.measures.decision.append(time.perf_counter_ns() - began)
        if isinstance(verdict, Parked) and verdict == self._parked.get(task_id):
            return
        self._parked.pop(task_id, None)
        if isinstance(verdict, Assigned):
            own.add(task_id, verdict)
        seq = self._tell(task_id, verdict, now, f"router#{one.router}")
        own.stored(task_id, seq, folded=self.timeline.seen)
        match verdict:
            case Assigned():
                server, arrival = self.servers[verdict.backend], one.arrival
                job = Job(task_id, verdict.attempt, arrival.input, arrival.output, arrival.blocks)
                server.queue.append(job)
                self._serve(verdict.backend, now)
                if verdict.backend in self._scalers and self._scalers[verdict.backend].sleeps:
                    self._scale(verdict.backend, now)
            case Parked():
                self._parked[task_id] = verdict
                if verdict.until is not None and not verdict.waits:
                    self._plan(max(since_start(verdict.until), now + 1), lambda due: self._wake(task_id, due))

    def _view(self, own: OwnAssignments) -> View:
        return View(
            backends=self.timeline.state(BACKENDS).by_id,
            loads=self.timeline.state(LOAD).backends,
            extra=own.work(),
            seen=self.timeline.seen,
            prefixes=self.timeline.state(PREFIXES),
            routers=self.timeline.state(ROUTERS).active,
        )

    def _wake(self, task_id: str, now: int) -> None:
        if task_id in self._parked:
            del self._parked[task_id]
            self._tell(task_id, Released("woken"), now, "timekeeper")
            self._decide(task_id, now)

    def _serve(self, name: str, now: int) -> None:
        """Begin as many calls as there are free slots."""
        server, health = self.servers[name], self._healths[name]
        while server.queue and server.free:
            job = server.queue.popleft()
            if not health.admits(at(now)):
                self._tell(job.task, Released(f"breaker of {name} is open", name), now, name)
                self._plan_look(now + self._setup.view_delay)
                # the router looks at it when it has seen this, and so why
                self._plan(now + self._setup.view_delay, lambda due, job=job: self._decide(job.task, due))  # type: ignore[misc]
                continue
            self._tell_health(name, health.begins(job.task), now)
            self._tell(job.task, Started(name, self._open[job.task].state.call + 1, name), now, name)
            run = server.begin(job, now)
            self._plan(now + run.duration, lambda due, run=run: self._end(name, run, due))  # type: ignore[misc]

    def _end(self, name: str, run: Run, now: int) -> None:
        server, health, one = self.servers[name], self._healths[name], self._open[run.job.task]
        self.last_end = now
        server.ended(run)
        if run.end is End.FAILED:
            self._tell_health(name, health.failed(at(now)), now)
            failure = Failure("unavailable", "the server is down")
            self._tell(run.job.task, Failed(name, one.state.call, failure, duration=run.duration), now, name)
            self._decide(run.job.task, now)
        else:
            self._tell_health(name, health.worked(at(now)), now)
            self._complete(name, run, one, now)
        self._plan_look(now + self._setup.view_delay)
        self._serve(name, now)

    def _complete(self, name: str, run: Run, one: _Open, now: int) -> None:
        machine = self.servers[name].machine
        real = Usage(run.job.input, run.job.output, run.cached)
        told = real if machine.reports_cached else Usage(real.input, real.output)
        completed = Completed(
            backend=name,
            call=one.state.call,
            output="",
            usage=told,
            cost=machine.price.price.cost(told),
            model=machine.model,
            first_token=run.first_token,
            duration=run.duration,
        )
        queued = run.began - one.arrived
        self.measures.answered(queued, queued + run.first_token, now - one.arrived, real, completed.cost)
        self._tell(run.job.task, completed, now, name)

    def _tell(self, task_id: str, wish: tasks.TaskEvent, now: int, source: str) -> int:
        """Append what follows from ``wish`` by the task's rules; returns the log's last number."""
        one = self._open[task_id]
        for event in tasks.decide(one.state, wish):
            one.state = tasks.evolve(one.state, event)
            self.timeline.append(source, f"task/{task_id}", event, now)
        if one.state.status in tasks.ENDED:
            self.measures.ended[one.state.status] += 1
            del self._open[task_id]
        return self.timeline.written

    def _tell_health(self, name: str, events: list[BackendEvent], now: int) -> None:
        for event in events:
            self._tell_backend(name, event, now)
            self._plan_look(now + self._setup.view_delay)
            if isinstance(event, Opened):
                self._plan_look(max(since_start(event.until), now + self._setup.view_delay))

    def _look_at_loads(self, now: int) -> None:
        """Scale what is to be, and look again as long as there is anything to come."""
        self.timeline.see(now)
        for name in self._scalers:
            self._scale(name, now)
        if self._more or self._open:
            self._plan(now + LOOK_NS, self._look_at_loads)

    def _scale(self, name: str, now: int) -> None:
        load = self.timeline.state(LOAD).backends.get(name, BackendLoad())
        breaker = self.timeline.state(BACKENDS).by_id[name].breaker
        for event in self._scalers[name].look(load, breaker, at(now), self.timeline.seen):
            self._tell_backend(name, event, now)
            self.scaled.append((now, event))
            server = self.servers[name]
            if event.replicas < server.replicas:
                server.scale(event.replicas, now)
            else:
                started = now + round(server.machine.start_s * NS_PER_S)
                self._plan(started, lambda due, n=event.replicas: self._started(name, n, due))  # type: ignore[misc]
            self._plan_look(now + self._setup.view_delay)

    def _started(self, name: str, replicas: int, now: int) -> None:
        """New replicas are up, as far as they are wanted still."""
        self.servers[name].scale(min(replicas, self._scalers[name].replicas), now)
        self._serve(name, now)

    def _plan_look(self, due: int) -> None:
        if due not in self._looks:
            self._looks.add(due)
            self._plan(due, self._look_again)

    def _look_again(self, now: int) -> None:
        """A change is seen: decide anew on what is parked for backends of which one has room by now, oldest first."""
        self._looks.discard(now)
        self.timeline.see(now)
        for task_id in sorted(self._parked, key=lambda task_id: self._open[task_id].arrived):
            view, waits = self._view(self._own[self._open[task_id].router]), self._parked[task_id].waits
            if not waits or any(view.has_room(name, at(now)) for name in waits):
                self._decide(task_id, now)

    def _tell_backend(self, name: str, event: BackendEvent, now: int) -> None:
        self.timeline.append(name, f"backend/{name}", event, now)

    def _folded(self, seq: int) -> None:
        for own in self._own:
            own.folded(seq)


def prefix_of(blocks: tuple[int, ...]) -> bytes:
    """The marks of a prompt of which a trace tells the blocks."""
    ends = (blocks[place - 1] for place in PLACES if place <= len(blocks))
    return b"".join((block * SCATTER & 0xFFFFFFFF).to_bytes(MARK, "big") for block in ends)
