"""Several ways to choose, over the same tasks on the same backends."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from msgspec import Struct
from msgspec.structs import replace

from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules
from callboard.actors.simulation.engine import Setup, Simulation
from callboard.actors.simulation.fleet import NS_PER_S, Machine
from callboard.actors.simulation.measures import Result
from callboard.actors.simulation.rules import SIMPLE, Chooser, Routed, Simple
from callboard.actors.simulation.trace import Trace
from callboard.actors.simulation.workload import attainable, scaled
from callboard.events.errors import InvalidInput


class Question(Struct, frozen=True):
    """What is to be simulated. ``speed`` is how many times as often as in the trace tasks come; the delay is in ns."""

    trace: Trace
    fleet: Mapping[str, Machine]
    policies: Sequence[str]
    tasks: int
    speed: float = 1.0
    routers: int = 1
    view_delay: int = 0
    seed: int = 1

    @property
    def title(self) -> str:
        """In a few words."""
        by = f", {self.routers} routers {self.view_delay / 1e6:g} ms apart" if self.routers > 1 else ""
        pace = f"{self.tasks:,} tasks at {self.speed:.3g} times its pace"
        return f"{self.trace.name}, {pace} on {len(self.fleet)} backends{by}"


def compare(question: Question) -> list[Result]:
    """A result for each policy, in their order, several processes at work. Raises InvalidInput for an unknown one."""
    known = {*policies(), *SIMPLE}
    for name in question.policies:
        if name not in known:
            raise InvalidInput(f"unknown policy {name!r}; known: {', '.join(sorted(known))}")
    best = attainable(question.trace, question.tasks, question.speed)
    workers = min(len(question.policies), os.cpu_count() or 1)
    if workers == 1:
        return [simulated(question, best, name) for name in question.policies]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return list(pool.map(partial(simulated, question, best), question.policies))


def simulated(question: Question, attainable_hits: float, policy: str) -> Result:
    """One policy's result, beside the hits that an endless cache would have."""
    setup = Setup(question.routers, question.view_delay, question.seed)
    simulation = Simulation(question.fleet, partial(_chooser, policy), setup)
    began = time.perf_counter()
    simulation.run(scaled(question.trace, question.tasks, question.speed))
    took = time.perf_counter() - began
    servers = simulation.servers.values()
    result = simulation.measures.result(
        policy,
        [server.busy_ns for server in servers],
        sum(machine.lanes for machine in question.fleet.values()) * simulation.last_arrival,
        took,
        attainable_hits,
    )
    hours = sum(server.replica_ns for server in servers) / (3600 * NS_PER_S)
    return replace(result, replica_hours=hours, scalings=len(simulation.scaled))


def _chooser(policy: str) -> Chooser:
    if policy in SIMPLE:
        return Simple(policy, SIMPLE[policy])
    return Routed(Rules(policies(), default=policy))
