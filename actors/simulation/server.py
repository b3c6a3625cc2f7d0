"""A simulated model server: slots, a queue in order of arrival, and a prefix cache that forgets by last use."""

import heapq
from collections import OrderedDict, deque
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from callboard.actors.simulation.fleet import NS_PER_S, Machine
from callboard.events.prefix import BLOCK

FAILS_AFTER = NS_PER_S
"""How long a call takes to fail at a server that is in trouble when it begins."""


class Job(Struct, frozen=True):
    """A task as a server gets it."""

    task: str
    attempt: int
    input: int
    output: int
    blocks: tuple[int, ...]


class End(Enum):
    """How a call ends."""

    ANSWERED = auto()
    FAILED = auto()


class Run(Struct, frozen=True):
    """A call as it will go: times in ns since its beginning, and the tokens that the cache served."""

    job: Job
    began: int
    first_token: int
    duration: int
    cached: int
    end: End


class PrefixCache:
    """Blocks by last use; the beginnings of prompts stay longest, since nothing after them is of use without them."""

    def __init__(self, tokens: int) -> None:
        self._capacity = tokens // BLOCK
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def hits(self, blocks: Sequence[int]) -> int:
        """How many blocks, from the first on, are there; they count as used now."""
        number = 0
        for block in blocks:
            if block not in self._blocks:
                break
            number += 1
        self._use(blocks[:number])
        return number

    def keep(self, blocks: Sequence[int]) -> None:
        """Have these blocks, as far as they fit."""
        kept = blocks[: self._capacity]
        for block in kept:
            self._blocks[block] = None
        self._use(kept)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)

    def _use(self, blocks: Sequence[int]) -> None:
        for block in reversed(blocks):
            self._blocks.move_to_end(block)


class Server:
    """One backend. Whoever runs it calls `take` for each job, and `ended` at the end of each run."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.queue: deque[Job] = deque()
        self.replicas = machine.replicas
        self.replica_ns = 0
        self.busy = 0
        self.busy_ns = 0
        self._cache = PrefixCache(machine.cache_tokens)
        self._read: list[tuple[int, int, tuple[int, ...]]] = []
        self._counted = 0

    @property
    def lanes(self) -> int:
        """Calls at a time."""
        return self.replicas * self.machine.concurrency

    @property
    def free(self) -> bool:
        """Is there a slot?"""
        return self.busy < self.lanes

    def scale(self, replicas: int, now: int) -> None:
        """Have so many replicas; calls under way go on."""
        self.count(now)
        self.replicas = replicas

    def count(self, now: int) -> None:
        """Count the replicas' time up to now."""
        self.replica_ns += (now - self._counted) * self.replicas
        self._counted = now

    def begin(self, job: Job, now: int) -> Run:
        """Give the job a slot: how its call will go."""
        assert self.free
        self.busy += 1
        while self._read and self._read[0][0] <= now:
            self._cache.keep(heapq.heappop(self._read)[2])
        cached = min(self._cache.hits(job.blocks) * BLOCK, job.input)
        first, duration = self.machine.service(job.input - cached, job.output, self.busy, self.lanes)
        for window in self.machine.windows:
            start, stop = round(window.from_s * NS_PER_S), round(window.to_s * NS_PER_S)
            if start <= now < stop:
                first, duration = round(first * window.slower), round(duration * window.slower)
            if window.fails and now < stop and now + duration > start:
                return Run(job, now, 0, max(start - now, FAILS_AFTER), 0, End.FAILED)
        # others can use what it reads once it has been read
        heapq.heappush(self._read, (now + first, job.attempt, job.blocks))
        return Run(job, now, first, duration, cached, End.ANSWERED)

    def ended(self, run: Run) -> None:
        """The run's slot is free."""
        self.busy -= 1
        self.busy_ns += run.duration
