"""What a simulation measures: waiting, first tokens, ends, cache hits, load, money, and its own speed."""

from array import array
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev

from msgspec import Struct

from callboard.events.chat import Usage
from callboard.events.task import Status


class Quantiles(Struct, frozen=True):
    """In ns."""

    p50: int = 0
    p95: int = 0
    p99: int = 0
    mean: int = 0


class Speed(Struct, frozen=True):
    """How fast the simulation went, by the real clock: tasks a second, and a decision's time in ns."""

    tasks_per_s: float
    decision: Quantiles


class Result(Struct, frozen=True):
    """One policy over one trace. Times in ns, money in micro-dollars, shares from 0 to 1.

    ``queue`` is from a task's arrival to the beginning of the call that answered it, ``first_token`` and
    ``completion`` from its arrival too. ``hits`` is the share of input tokens that prefix caches served, ``attainable``
    that of one shared cache without end. ``busy`` is the share of all slots in use until the last arrival, ``peak`` the
    busiest backend's time over the average one's, ``spread`` the standard deviation over the average.
    ``replica_hours`` is the time of all replicas until the last end, ``scalings`` how often there were more or fewer.
    """

    policy: str
    tasks: int
    ended: dict[str, int]
    queue: Quantiles
    first_token: Quantiles
    completion: Quantiles
    hits: float
    attainable: float
    busy: float
    peak: float
    spread: float
    cost: int
    speed: Speed
    replica_hours: float = 0.0
    scalings: int = 0


class Measures:
    """Takes down what happens."""

    def __init__(self) -> None:
        self.ended: Counter[Status] = Counter()
        self.queue = array("q")
        self.first_token = array("q")
        self.completion = array("q")
        self.decision = array("q")
        self.usage = Usage()
        self.cost = 0

    def answered(self, queued: int, first_token: int, completion: int, usage: Usage, cost: int) -> None:
        """A task was answered: times in ns since its arrival."""
        self.queue.append(queued)
        self.first_token.append(first_token)
        self.completion.append(completion)
        self.usage += usage
        self.cost += cost

    def result(self, policy: str, busy_ns: Sequence[int], capacity_ns: int, took_s: float, attainable: float) -> Result:
        """The sums, given each backend's busy time, and the time of all slots together."""
        average = fmean(busy_ns) or 1.0
        tasks = self.ended.total()
        return Result(
            policy=policy,
            tasks=tasks,
            ended={status.value: number for status, number in sorted(self.ended.items())},
            queue=quantiles(self.queue),
            first_token=quantiles(self.first_token),
            completion=quantiles(self.completion),
            hits=self.usage.cached / max(self.usage.input, 1),
            attainable=attainable,
            busy=sum(busy_ns) / max(capacity_ns, 1),
            peak=max(busy_ns) / average,
            spread=pstdev(busy_ns) / average,
            cost=self.cost,
            speed=Speed(tasks / max(took_s, 1e-9), quantiles(self.decision)),
        )


def quantiles(values: Sequence[int]) -> Quantiles:
    """By nearest rank; zeros of nothing."""
    if not values:
        return Quantiles()
    ranked = sorted(values)

    def rank(percent: int) -> int:
        return ranked[-(-len(ranked) * percent // 100) - 1]

    return Quantiles(rank(50), rank(95), rank(99), round(fmean(ranked)))
