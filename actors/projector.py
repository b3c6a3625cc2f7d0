"""Keeps projections at the head of the log: load the snapshots, fold what came since, follow."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import structlog

from callboard.actors.snapshots import ProjectionSnapshots
from callboard.bus.errors import Forbidden
from callboard.bus.log import Bus, Note, Record
from callboard.bus.subjects import SNAPSHOT_NOW, entity_of
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import Undecodable
from callboard.projections.projection import Projection, dump

S = TypeVar("S")
Watcher: TypeAlias = Callable[[int, Envelope], None]

SNAPSHOT: Final = "projections"
SNAPSHOT_EVERY: Final = 50_000
GATHER_S: Final = 0.005
"""What comes within this time is folded together: many small folds would stand in the way of the actors' own work."""

_log = structlog.get_logger(__name__)


class Projector:
    """Live projections over the log's ``subjects`` (default: all events).

    Snapshots are kept under the name ``snapshot``, which stands for these subjects, one for about ``every`` so many
    messages; without a name there are none, and a start begins at the log's first event. What comes within ``gather_s``
    is folded together.
    """

    def __init__(
        self,
        bus: Bus,
        *projections: Projection[Any],
        subjects: Sequence[str] = (),
        snapshot: str | None = SNAPSHOT,
        gather_s: float = GATHER_S,
        every: int = SNAPSHOT_EVERY,
    ) -> None:
        self._bus = bus
        self._projections = projections
        self._subjects = subjects
        self._states: dict[str, Any] = {projection.name: projection.initial() for projection in projections}
        self._watchers: list[tuple[Watcher, tuple[type[Any], ...]]] = []
        self._watching: dict[type[Any], list[Watcher]] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._saved = 0
        self._snapshots = ProjectionSnapshots(bus, snapshot) if snapshot else None
        self._gather_s = gather_s
        self._every = every
        self.seq = 0
        self.broken: dict[str, str] = {}
        """Entities with a message that cannot be read, and why."""

    def state(self, projection: Projection[S]) -> S:
        """The projection's state as folded up to `seq`."""
        state: S = self._states[projection.name]
        return state

    def watch(self, watcher: Watcher, *events: type[Any]) -> None:
        """Call ``watcher`` with each event, or each of these types, after it was folded; it must not block."""
        self._watchers.append((watcher, events))
        self._watching.clear()

    def unwatch(self, watcher: Watcher) -> None:
        """No longer call ``watcher``."""
        self._watchers = [each for each in self._watchers if each[0] != watcher]
        self._watching.clear()

    async def catch_up(self, upto: int | None = None) -> None:
        """Fold everything stored by now, or up to the sequence ``upto``, beginning at the newest snapshot before."""
        await self._restore(upto)
        async for batch in self._bus.log.read_all(*self._subjects, after=self.seq, upto=upto):
            self._fold(batch)
            await self._snapshot_if_due()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        async for batch in self._bus.log.follow(*self._subjects, after=self.seq):
            self._fold(batch)
            await self._snapshot_if_due()
            await asyncio.sleep(self._gather_s)

    async def reached(self, seq: int) -> None:
        """Wait until everything up to ``seq`` is folded: reading one's own writes."""
        if self.seq < seq:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((seq, future))
            await future

    async def save_when_asked(self) -> None:
        """Save whenever somebody asks for it on `SNAPSHOT_NOW`, and answer with the sequence, until cancelled.

        Who may not hear of it leaves it to others.
        """

        async def asked(note: Note) -> None:
            await self.save()
            if note.reply:
                await self._bus.signals.publish(note.reply, str(self._saved).encode())

        stop = None
        with suppress(Forbidden):
            stop = await self._bus.signals.subscribe(SNAPSHOT_NOW, asked)
        try:
            await asyncio.Event().wait()
        finally:
            if stop:
                await stop()

    def dump(self, projection: Projection[Any]) -> bytes:
        """A snapshot of one projection."""
        return dump(projection, self._states[projection.name], self.seq)

    async def save(self) -> None:
        """Store a snapshot of all projections together, so that this moment is reached soon from now on.

        With a broken entity there is none: every start finds it again. Who may not keep any leaves it to others.
        """
        states, seq = self._states, self.seq
        if self._snapshots and seq > self._saved and not self.broken:
            self._saved = seq
            try:
                await self._snapshots.save(self._projections, states, seq)
            except Forbidden:
                self._snapshots = None

    async def _restore(self, upto: int | None) -> None:
        if self._snapshots and not self.seq:
            end = await self._bus.log.end()
            found = await self._snapshots.load(self._projections, end if upto is None else min(upto, end))
            if found:
                self._states, self.seq = found
                self._saved = self.seq

    async def _snapshot_if_due(self) -> None:
        if self.seq - self._saved >= self._every:
            await self.save()

    def _fold(self, batch: Sequence[Record]) -> None:
        for record in batch:
            try:
                envelopes = decode(record.data)
            except Undecodable as error:
                self.broken[entity_of(record.subject)] = f"message {record.seq}: {error}"
                _log.exception("an event can't be read; its entity is broken", seq=record.seq)
                envelopes = []
            # all projections take a message or none does: after a failure it is folded again, and only it
            states = self._states.copy()
            for envelope in envelopes:
                for projection in self._projections:
                    states[projection.name] = projection.apply(states[projection.name], envelope)
            self._states, self.seq = states, record.seq
            for envelope in envelopes:
                for watcher in self._watchers_of(type(envelope.event)):
                    watcher(record.seq, envelope)
        self._wake_waiters()

    def _watchers_of(self, event: type[Any]) -> list[Watcher]:
        """Whom an event of a type is told to; most want few types, and are not to be asked about each event."""
        if event not in self._watching:
            self._watching[event] = [watcher for watcher, events in self._watchers if not events or event in events]
        return self._watching[event]

    def _wake_waiters(self) -> None:
        if self._waiters:
            ready = [future for seq, future in self._waiters if seq <= self.seq]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > self.seq]
            for future in ready:
                if not future.done():
                    future.set_result(None)
