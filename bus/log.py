"""How facts travel and stay: the shapes that every bus has.

`callboard.bus.jetstream` is the real one, `callboard.bus.memory` its in-process twin; one contract suite holds for
both. Bytes go in and come out: what they mean is the events' affair.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from callboard.bus.filters import Filter
from callboard.bus.subjects import SUBMIT
from callboard.bus.thinning import BOUNDS, Bounds, Moment
from callboard.events.away import Away
from callboard.events.shards import Shards

if TYPE_CHECKING:
    from callboard.bus.privacy import Privacy


class Write(NamedTuple):
    """One message for one entity.

    ``expected`` is the stream sequence of the entity's last message, 0 when it has none: the write is stored only
    if that is still so.
    """

    subject: str
    data: bytes
    expected: int


class Record(NamedTuple):
    """One stored message. ``seq`` is its stream sequence, which has no gaps; ``time_ns`` when it was stored.

    ``traceparent`` is the trace context that a submission's sender put into the header of that name; events carry
    theirs inside.
    """

    seq: int
    subject: str
    data: bytes
    time_ns: int
    traceparent: str = ""


class Log(Protocol):
    """The event log. ``shards`` are those that it holds, as far as one may look: all of them, or a cell's."""

    @property
    def shards(self) -> Shards:
        """Which shards it holds."""
        ...

    @property
    def split(self) -> int:
        """Up to which sequence messages of other shards were taken away when it was split; 0 if it never was."""
        ...

    async def away(self) -> Away:
        """What was taken away then, by sequence and hash."""
        ...

    async def append(self, write: Write, *, timeout_s: float = 30.0) -> int:
        """Store one message durably and return its sequence.

        Safe to lose the answer: a write is sent again until its outcome is known, and is stored at most once.

        Raises:
            Conflict: the entity's last sequence isn't ``write.expected``.
            Elsewhere: the entity is of a shard that another log holds.
            TooLarge: over 256 KiB.
            LogFull: the log is at its size limit.
            Unavailable: no answer within ``timeout_s``.
        """
        ...

    async def append_batch(self, writes: Sequence[Write], *, timeout_s: float = 30.0) -> list[int]:
        """Store all or none of up to 1,000 messages, at most one for each entity; errors as in `append`."""
        ...

    async def read(
        self, entity: str, *, after: int = 0, passed: int | None = None, last: Record | None = None
    ) -> list[Record]:
        """All messages of one entity (``evt.<shard>.<kind>.<id>``) with a sequence over ``after``, in order.

        It is faster for who can say how many that passes over (``passed``), or has read the ``last`` one just now.
        """
        ...

    async def last(self, entity: str) -> Record | None:
        """The last message of one entity, None if there is none."""
        ...

    async def pick(self, seqs: Sequence[int]) -> list[Record]:
        """The messages at these sequences. Raises NotFound if one of them is not there."""
        ...

    def read_all(self, *subjects: str, after: int = 0, upto: int | None = None) -> AsyncIterator[list[Record]]:
        """Everything stored by now on ``subjects`` (default: all events) after a sequence, not beyond ``upto``."""
        ...

    def follow(self, *subjects: str, after: int = 0) -> AsyncIterator[list[Record]]:
        """Everything stored after a sequence, and then what comes, for ever.

        In order, none twice, none left out: a gap or a lost connection starts again from the last one seen.
        """
        ...

    async def end(self) -> int:
        """The sequence of the log's last message, 0 when it is empty."""
        ...


class Behind(NamedTuple):
    """A durable queue that has something left to do, among what is ``wanted`` and has a sequence over ``done``."""

    name: str
    wanted: Filter
    done: int


class HotLog(Log, Protocol):
    """A log from which entities can be taken that lie in an archive as well; the other sequences stay as they are."""

    @property
    def closed(self) -> bool:
        """Whether the bus was closed: whoever follows the log then has come to an end."""
        ...

    async def purge(self, subject: str, *, upto: int) -> int:
        """Remove the messages on one subject up to and with the sequence ``upto``, and return how many there were.

        An entity's last message must go last, since the expectation for the entity is that of what is left: in the end
        it is 0. (A whole entity at once, by a wildcard, can take nats-server thirty times as long, and appends wait.)
        """
        ...

    async def missing(self, *, after: int = 0) -> int:
        """How many messages with a sequence over ``after`` were purged."""
        ...

    async def behind(self) -> list[Behind]:
        """The durable queues that have anything left to do: what they have not seen must not be purged."""
        ...


class Delivery(Protocol):
    """A message from a queue, ours until acknowledged or until it has not been touched for the queue's ack-wait."""

    @property
    def record(self) -> Record:
        """The message."""
        ...

    @property
    def attempt(self) -> int:
        """How often it was delivered, from 1."""
        ...

    async def ack(self) -> None:
        """Done: never deliver it again. Not answered; a lost one means a redelivery."""
        ...

    async def retry(self, delay_s: float = 0.0) -> None:
        """Not done: deliver it again after ``delay_s``."""
        ...

    async def working(self) -> None:
        """Still at it: start the ack-wait anew."""
        ...


class Queue(Protocol):
    """A durable work queue: each message goes to one of those who take from it, until one acknowledges."""

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Messages as they come, for ever. No more than ``max_in_flight`` are out and unacknowledged here."""
        ...

    async def pending(self) -> int:
        """Messages not yet acknowledged, delivered or not; on several servers, of those that the queue's leader has."""
        ...

    async def aclose(self) -> None:
        """Stop taking; what is unacknowledged goes back after its ack-wait. The queue itself stays."""
        ...


class Blobs(Protocol):
    """Large values by the SHA-256 (hex) of their content."""

    async def put(self, data: bytes) -> str:
        """Store ``data`` once and return its hash."""
        ...

    async def get(self, sha256: str) -> bytes:
        """The bytes with this hash, verified. Raises NotFound."""
        ...


class Snapshots(Protocol):
    """The newest snapshot of each projection, and older ones by sequence; a cache, never the truth."""

    async def save(self, name: str, data: bytes) -> None:
        """Replace the snapshot called ``name``."""
        ...

    async def load(self, name: str) -> bytes | None:
        """The newest snapshot called ``name``, if any."""
        ...

    async def keep(self, name: str, seq: int, data: bytes, bounds: Bounds = BOUNDS) -> None:
        """Store what ``name`` was at the sequence ``seq`` beside what it was at others.

        Those that are over ``bounds`` then are dropped, where there are most of them for their age.
        """
        ...

    async def moments(self, name: str) -> list[Moment]:
        """At which sequences there is a snapshot of ``name``, in order."""
        ...

    async def load_at(self, name: str, seq: int) -> bytes | None:
        """What ``name`` was at exactly this sequence, if that is kept."""
        ...


class Keys(Protocol):
    """The wrapped keys of persons, one under each name; what is erased is gone from the disk."""

    async def add(self, name: str, data: bytes) -> bool:
        """Keep ``data`` under a name that there is not yet; whether it is kept."""
        ...

    async def get(self, name: str) -> bytes | None:
        """What is kept under a name now, None if nothing is."""
        ...

    async def erase(self, name: str, data: bytes) -> bool:
        """Take ``data`` away, and write over it on the disk; False if it is not what is kept under the name."""
        ...

    async def names(self) -> list[str]:
        """All names that something is kept under, in order."""
        ...


class Checkpoints(Protocol):
    """The signed checkpoints of the log (`callboard.events.checkpoint`): appended, and never taken away."""

    async def append(self, size: int, data: bytes, expected: int) -> int:
        """Store one of the first ``size`` messages, after the one with the sequence ``expected``; return its own.

        Raises Conflict when another came after that one.
        """
        ...

    async def last(self) -> Record | None:
        """The newest one, None if there is none."""
        ...

    async def read(self, after: int = 0) -> list[Record]:
        """All of them with a sequence over ``after``, in order."""
        ...


class Timers(Protocol):
    """Messages to oneself at a later time; they outlive every process, and fire once."""

    async def set(self, key: str, at_ns: int, data: bytes, *, first: bool = False) -> None:
        """Deliver ``data`` to the timers' queue at or after ``at_ns`` (wall clock). The same key replaces.

        ``first``: none was set for the key but with the same time, so there is nothing to replace; that is quicker.
        """
        ...

    async def cancel(self, key: str) -> None:
        """Forget a timer; nothing happens if it has fired or never was."""
        ...


class Note(NamedTuple):
    """A message on plain NATS: not stored, delivered to whoever listens now. ``reply`` is empty if none is asked.

    ``traceparent`` is the W3C trace context in the header of that name.
    """

    subject: str
    data: bytes
    reply: str
    traceparent: str = ""


Receiver: TypeAlias = Callable[[Note], Awaitable[None]]
Unsubscribe: TypeAlias = Callable[[], Awaitable[None]]


class Signals(Protocol):
    """Plain NATS beside the log: token streams, replies. Lost when nobody listens."""

    async def publish(self, subject: str, data: bytes, *, reply: str = "", traceparent: str = "") -> None:
        """Tell whoever listens; waits for nothing."""
        ...

    async def subscribe(self, subject: str, receive: Receiver) -> Unsubscribe:
        """Call ``receive`` for each message, one after another; returns how to stop."""
        ...

    def inbox(self) -> str:
        """A fresh subject for replies."""
        ...


class Bus(Protocol):
    """Everything an actor can reach."""

    log: Log
    blobs: Blobs
    snapshots: Snapshots
    timers: Timers
    signals: Signals
    keys: Keys
    privacy: "Privacy"
    checkpoints: Checkpoints

    @property
    def shards(self) -> Shards:
        """Which shards its log holds: all of them, or a cell's."""
        ...

    async def queue(self, name: str, *subjects: str, max_in_flight: int = 256, ack_wait_s: float = 2.0) -> Queue:
        """Join (and on first use create) the durable queue ``name`` over ``subjects``, from the log's start."""
        ...

    async def submissions(self, subject: str = SUBMIT, *, max_in_flight: int = 256, ack_wait_s: float = 2.0) -> Queue:
        """Join the queue of ``submit.task``, or of another of `TAKERS`: what anybody published, until taken in."""
        ...

    async def wipe(self, delivery: Delivery) -> None:
        """Take a submission away that was taken in, and write over it on the disk; it need not be acknowledged."""
        ...

    async def room(self) -> int:
        """How many bytes of submissions are kept before there is no room: what does not fit is dropped in silence."""
        ...

    async def fired(self, *, max_in_flight: int = 64, ack_wait_s: float = 2.0) -> Queue:
        """Join the queue of timers that have fired."""
        ...

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call ``callback`` after every re-established connection."""
        ...

    async def aclose(self) -> None:
        """Close the connection; what was appended stays, what was not acknowledged is delivered again."""
        ...
