"""Durable work queues in memory: redelivery after the ack-wait, delayed retries, attempts, several takers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator

from callboard.bus.log import Record
from callboard.bus.memory_stream import Bell


class _Job:
    """One message that nobody has acknowledged yet."""

    __slots__ = ("attempt", "record", "taker", "wake")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.attempt = 0
        self.taker: MemoryQueue | None = None
        self.wake: asyncio.TimerHandle | None = None


class WorkQueue:
    """The queue itself, which outlives all who take from it. Ack-waits run on the event loop's clock."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.ack_wait_s = 0.0
        self._jobs: dict[int, _Job] = {}
        self._new: deque[_Job] = deque()
        self._again: deque[_Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[int]:
        """The sequences of its messages, in order."""
        return iter(self._jobs)

    @property
    def size(self) -> int:
        """Bytes of the messages in it."""
        return sum(len(job.record.data) for job in self._jobs.values())

    def put(self, record: Record) -> None:
        """Add a message."""
        job = self._jobs[record.seq] = _Job(record)
        self._new.append(job)
        self.bell.ring()

    def take(self, taker: "MemoryQueue") -> "MemoryDelivery | None":
        """The next message, now ``taker``'s; those that were out before come first."""
        for waiting in (self._again, self._new):
            while waiting:
                job = waiting.popleft()
                if self._jobs.get(job.record.seq) is job:
                    job.attempt += 1
                    job.taker = taker
                    taker.out += 1
                    self._later(job, self.ack_wait_s)
                    return MemoryDelivery(self, job)
        return None

    def done(self, job: _Job) -> None:
        """Forget a message, whoever has it by now."""
        self._release(job)
        self._jobs.pop(job.record.seq, None)
        self.bell.ring()

    def put_back(self, job: _Job, attempt: int, delay_s: float) -> None:
        """End the delivery number ``attempt``; the message is taken again after ``delay_s``."""
        if job.taker and job.attempt == attempt:
            self._release(job)
            self._later(job, delay_s)
            self.bell.ring()

    def touch(self, job: _Job, attempt: int) -> None:
        """Start the ack-wait of the delivery number ``attempt`` anew."""
        if job.taker and job.attempt == attempt:
            self._later(job, self.ack_wait_s)

    def _later(self, job: _Job, delay_s: float) -> None:
        if job.wake:
            job.wake.cancel()
        job.wake = asyncio.get_running_loop().call_later(delay_s, self._offer_again, job)

    def _offer_again(self, job: _Job) -> None:
        self._release(job)
        self._again.append(job)
        self.bell.ring()

    @staticmethod
    def _release(job: _Job) -> None:
        if job.taker:
            job.taker.out -= 1
            job.taker = None
        if job.wake:
            job.wake.cancel()
            job.wake = None


class MemoryQueue:
    """One who takes from a queue. ``out``: messages that are out and unacknowledged here."""

    def __init__(self, work: WorkQueue, max_in_flight: int) -> None:
        self.out = 0
        self._work = work
        self._max_in_flight = max_in_flight
        self._closed = False

    async def deliveries(self) -> AsyncIterator["MemoryDelivery"]:
        """Messages as they come, until closed."""
        while not self._closed:
            delivery = self._work.take(self) if self.out < self._max_in_flight else None
            if delivery:
                yield delivery
            else:
                await self._work.bell.wait()

    async def pending(self) -> int:
        """Messages not yet acknowledged, delivered or not."""
        return len(self._work)

    async def aclose(self) -> None:
        """Stop taking; what is unacknowledged goes back after its ack-wait."""
        self._closed = True
        self._work.bell.ring()


class MemoryDelivery:
    """A message that is out."""

    def __init__(self, work: WorkQueue, job: _Job) -> None:
        self.record = job.record
        self.attempt = job.attempt
        self._work = work
        self._job = job

    async def ack(self) -> None:
        """Done: never deliver it again."""
        self._work.done(self._job)

    async def retry(self, delay_s: float = 0.0) -> None:
        """Not done: deliver it again after ``delay_s``."""
        self._work.put_back(self._job, self.attempt, delay_s)

    async def working(self) -> None:
        """Still at it: start the ack-wait anew."""
        self._work.touch(self._job, self.attempt)
