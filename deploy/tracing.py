"""The role "traces": follows the log and exports the spans it tells, each once as far as a crash allows.

The cursor and the open spans are one snapshot, saved after what it stands for was delivered. What was delivered since
the last one saved is delivered again after a crash, under the same ids.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from callboard.bus.errors import BusError
from callboard.bus.log import Bus, Record
from callboard.deploy.tracing_log import SUBJECTS, tell
from callboard.deploy.tracing_spans import readable, resource
from callboard.projections.projection import Snapshot, dump, load
from callboard.projections.spans import SPANS, Spans

CHUNK: Final = 1000
"""Records that are exported at a time; no more than twice as many wait in memory."""

PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
_log = structlog.get_logger(__name__)


class TraceExport:
    """One exporter of the log's spans. ``name`` is its cursor's: exporters to different places need different ones.

    Args:
        bus: Where the log and the snapshots are.
        exporter: Where spans go; a failing one is tried again until it succeeds, and nothing is skipped.
        name: Of the snapshot.
        delay_s: How long spans may be gathered before they are sent.
        save_every_s: How often the cursor is saved.
        pauses_s: How long to wait after the first, second, … failure in a row.
    """

    def __init__(
        self,
        bus: Bus,
        exporter: SpanExporter,
        *,
        name: str = SPANS.name,
        delay_s: float = 1.0,
        save_every_s: float = 5.0,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._bus = bus
        self._exporter = exporter
        self._projection = SPANS._replace(name=name)
        self._delay_s = delay_s
        self._save_every_s = save_every_s
        self._pauses_s = pauses_s
        self._resource = resource()
        self._state = Spans()
        self._restored = False
        self._saved = 0
        self._saved_at = 0.0
        self._waiting: list[Record] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._step: asyncio.Task[bool] | None = None
        self.seq = 0
        """The log sequence up to which everything was delivered."""

    async def run(self) -> None:
        """Follow and export until cancelled; `aclose` then delivers the rest."""
        await self._step_over()
        await self._restore()
        self._waiting.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._gather())
            group.create_task(self._export())

    async def aclose(self, timeout_s: float = 3.0) -> None:
        """Deliver what is in the log by now, if that works within ``timeout_s``, and save the cursor.

        Call it when `run` has ended. What is not delivered now will be after the next start.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._step_over()
                await self._restore()
                async for batch in self._bus.log.read_all(*SUBJECTS, after=self.seq):
                    if not await self._deliver(batch):
                        break
        except TimeoutError:
            _log.warning("the newest traces were not delivered in time; they will be after the next start")
        except BusError as error:
            _log.warning("the newest traces can't be read; they will be delivered after the next start", why=str(error))
            return
        await self._save()

    async def _gather(self) -> None:
        async for batch in self._bus.log.follow(*SUBJECTS, after=self.seq):
            self._waiting += batch
            self._arrived.set()
            while len(self._waiting) >= CHUNK:
                self._taken.clear()
                await self._taken.wait()

    async def _export(self) -> None:
        failures = 0
        while True:
            await self._arrived.wait()
            if len(self._waiting) < CHUNK:
                await asyncio.sleep(self._delay_s)
            chunk = self._waiting[:CHUNK]
            if not await self._deliver(chunk):
                await asyncio.sleep(self._pauses_s[min(failures, len(self._pauses_s) - 1)])
                failures += 1
                continue
            failures = 0
            del self._waiting[: len(chunk)]
            if not self._waiting:
                self._arrived.clear()
            self._taken.set()
            if time.monotonic() - self._saved_at >= self._save_every_s:
                await self._save()

    async def _deliver(self, records: Sequence[Record]) -> bool:
        """Export the spans that end with ``records`` and move the cursor past them; False when that failed.

        Once begun it goes on to its end, even if whoever waits for it is cancelled.
        """
        self._step = asyncio.create_task(self._fold_and_export(records))
        return await asyncio.shield(self._step)

    async def _step_over(self) -> None:
        """Wait until what was begun has ended, well or not."""
        if self._step is not None:
            await asyncio.wait([self._step])

    async def _fold_and_export(self, records: Sequence[Record]) -> bool:
        state = await asyncio.to_thread(self._send, records)
        if state is None:
            return False
        self._state, self.seq = state, records[-1].seq
        return True

    def _send(self, records: Sequence[Record]) -> Spans | None:
        """In a thread, so that neither a slow collector nor a long list holds up the actors."""
        state, spans = self._fold(self._state, records)
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            return None
        return state

    def _fold(self, state: Spans, records: Sequence[Record]) -> tuple[Spans, list[ReadableSpan]]:
        state, told = tell(state, records)
        return state, [readable(each.span, self._resource) for each in told]

    async def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self.seq > self._saved:
            state, seq = self._state, self.seq
            data = await asyncio.to_thread(dump, self._projection, state, seq)
            await self._bus.snapshots.save(self._projection.name, data)
            self._saved = seq

    async def _restore(self) -> None:
        if self._restored:
            return
        data = await self._bus.snapshots.load(self._projection.name)
        if data is not None:
            await self._restore_from(data)
        self._restored = True
        self._saved, self._saved_at = self.seq, time.monotonic()

    async def _restore_from(self, data: bytes) -> None:
        try:
            delivered = msgspec.json.decode(data, type=Snapshot).seq
        except msgspec.MsgspecError as error:
            _log.warning("the traces' cursor can't be read; all are exported again, with the same ids", why=str(error))
            return
        if delivered > await self._bus.log.end():
            _log.warning(
                "the traces' cursor is beyond the log's end, so it is of another log: exporting from the start"
            )
            return
        if restored := load(self._projection, data):
            self._state, self.seq = restored
            return
        # another version saved it: what it delivered stays delivered, only what is open must be told again
        async for batch in self._bus.log.read_all(*SUBJECTS):
            known = [record for record in batch if record.seq <= delivered]
            self._state, _ = await asyncio.to_thread(self._fold, self._state, known)
            if len(known) < len(batch):
                break
        self.seq = delivered
