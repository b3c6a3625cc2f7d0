"""Who decides in a simulation: the real router, or one of the simple rules that it is compared with."""

import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, Protocol

from callboard.actors.router.route import Rules, Verdict, View, route
from callboard.events.backend import Backend, Breaker
from callboard.events.chat import estimated_tokens
from callboard.events.task import Assigned, Parked, Task
from callboard.events.task_spec import Blob, Decision
from callboard.projections.bill import USUAL_OUTPUT


class Chooser(Protocol):
    """Decides about a task, as `route` does."""

    def __call__(self, task: Task, view: View, now: datetime, seed: int, prefix: bytes) -> Verdict:
        """What is to be done with the task."""
        ...


class Routed:
    """The router's own decision, by a policy."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def __call__(self, task: Task, view: View, now: datetime, seed: int, prefix: bytes) -> Verdict:
        """What `route` says."""
        return route(task, view, self._rules, now, seed, prefix)


class Simple:
    """A rule that picks one of the backends that are up; it sees the same view as the router."""

    def __init__(self, name: str, pick: "Pick") -> None:
        self._name = name
        self._pick = pick
        self._turn = 0

    def __call__(self, task: Task, view: View, now: datetime, seed: int, prefix: bytes) -> Verdict:
        """An assignment, or the task waits until a backend is up."""
        up = sorted(name for name, backend in view.backends.items() if _is_up(backend, view, now))
        if not up:
            ends = [backend.until for backend in view.backends.values() if backend.until and backend.until > now]
            return Parked("no backend is up", min(ends, default=None))
        self._turn += 1
        chosen = self._pick(up, view, random.Random(seed), self._turn)
        assert task.spec is not None
        assert isinstance(task.spec.input, Blob)
        tokens = estimated_tokens(task.spec.input.size) + USUAL_OUTPUT
        return Assigned(chosen, task.attempt + 1, tokens, Decision(self._name, self._name, view.seen))


Pick = Callable[[list[str], View, random.Random, int], str]


def _is_up(backend: Backend, view: View, now: datetime) -> bool:
    if backend.breaker is Breaker.OPEN and backend.until is not None and backend.until > now:
        return False
    return backend.breaker is Breaker.CLOSED or not _requests(view, backend.id)


def _requests(view: View, name: str) -> int:
    load, extra = view.loads.get(name), view.extra.get(name)
    return (len(load.outstanding) if load else 0) + (extra.tasks if extra else 0)


def _random(up: list[str], _view: View, chance: random.Random, _turn: int) -> str:
    return chance.choice(up)


def _round_robin(up: list[str], _view: View, _chance: random.Random, turn: int) -> str:
    return up[turn % len(up)]


def _least_requests(up: list[str], view: View, chance: random.Random, _turn: int) -> str:
    requests = {name: _requests(view, name) for name in up}
    least = min(requests.values())
    return chance.choice([name for name, number in requests.items() if number == least])


def _two_choices(up: list[str], view: View, chance: random.Random, _turn: int) -> str:
    return min(chance.sample(up, min(2, len(up))), key=lambda name: _requests(view, name))


SIMPLE: Final[Mapping[str, Pick]] = {
    "random": _random,
    "round-robin": _round_robin,
    "least-requests": _least_requests,
    "two-choices": _two_choices,
}
"""The simple rules by name."""
