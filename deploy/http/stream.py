"""A task's events as they come, and its text as it is written: server-sent events.

Each event of the log is a ``CloudEvents`` object; the ``id`` of the last of a message is its sequence, from which a
client that lost its connection goes on (``Last-Event-ID``). Of what is private it has what everybody may know, and no
more; the outcome is told in full. ``token`` events are not in the log: they are ``{call, at, text}``, and are left out
for who is too slow. The last event is ``outcome``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import structlog
from msgspec import Raw
from msgspec.json import decode, encode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from callboard.actors.backend.call import TokenNote
from callboard.actors.board import Board
from callboard.bus.entities import NEWEST
from callboard.bus.log import Note, Record
from callboard.bus.subjects import entity, tokens
from callboard.deploy.http.bells import Bells, rung
from callboard.deploy.http.doorkeeper import Doorkeeper
from callboard.deploy.http.limits import Limits
from callboard.deploy.http.problem import RETRY_S, Refused
from callboard.deploy.http.reading import gone, only
from callboard.deploy.http.tasks import known, whole_outcome
from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.task import ENDED

FRAMES: Final = 256
"""So many are ready for a client that is slow; the log is read no further meanwhile, and tokens are left out."""

PING: Final = b": here\n\n"
BYE: Final = b": the server stops\nretry: 1000\n\n"

_log = structlog.get_logger(__name__)


class _Named(msgspec.Struct):
    type: str


class StreamDesk:
    """Opens streams of events, of one task each."""

    def __init__(self, board: Board, bells: Bells, doorkeeper: Doorkeeper, limits: Limits) -> None:
        self._board = board
        self._bells = bells
        self._doorkeeper = doorkeeper
        self._limits = limits
        self.open = 0
        """How many there are."""

    async def events(self, request: Request) -> Response:
        """All events of a task that has been, and those to come until it ends."""
        self._doorkeeper.admit(request, "read")
        only(request)
        if self.open >= self._limits.streams:
            raise Refused(503, f"there are {self.open} streams already: close one", {"retry-after": RETRY_S})
        task_id, after = await known(self._board, request), _last_seen(request)
        loaded = await self._board.tasks.load(task_id, at_least=NEWEST)
        if after >= loaded.seq and loaded.state.status in ENDED:
            return Response(status_code=204)  # an EventSource that has seen the end comes no more
        return _Stream(self, task_id, after)

    @asynccontextmanager
    async def frames(self, task_id: str, after: int) -> AsyncIterator["asyncio.Queue[bytes | None]"]:
        """What to send, while the context is open; None is the end."""
        frames: asyncio.Queue[bytes | None] = asyncio.Queue(FRAMES)

        async def hear(note: Note) -> None:
            if not frames.full():
                with suppress(msgspec.MsgspecError):  # anybody may publish there
                    frames.put_nowait(_frame("token", encode(decode(note.data, type=TokenNote))))

        self.open += 1
        stop = await self._board.bus.signals.subscribe(tokens(task_id), hear)
        telling = asyncio.create_task(self._tell(task_id, after, frames))
        try:
            yield frames
        finally:
            self.open -= 1
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await stop()

    @property
    def ping_s(self) -> float:
        """After how many quiet seconds a sign of life is sent."""
        return self._limits.ping_s

    async def _tell(self, task_id: str, after: int, frames: "asyncio.Queue[bytes | None]") -> None:
        try:
            with self._bells.of(task_id) as bell:
                while True:
                    stopping = self._bells.stopping
                    bell.clear()
                    for record in await self._board.bus.log.read(entity("task", task_id), after=after):
                        for frame in _told(record):
                            await frames.put(frame)
                        after = record.seq
                    loaded = await self._board.tasks.load(task_id, at_least=after)
                    if loaded.state.status in ENDED and loaded.seq <= after:
                        outcome = await whole_outcome(self._board, loaded.state)
                        await frames.put(_frame("outcome", encode(outcome)))
                        break
                    if stopping:
                        await frames.put(BYE)
                        break
                    await rung(bell)
        except CallboardError as error:
            _log.warning("a stream of events broke off", task=task_id, error=str(error))
        except Exception:
            _log.exception("a stream of events broke off", task=task_id)
        await frames.put(None)


class _Stream(Response):
    """The answer that a stream is."""

    media_type = "text/event-stream"

    def __init__(self, desk: StreamDesk, task_id: str, after: int) -> None:
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._desk = desk
        self._task_id = task_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client leaves."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            sending, leaving = asyncio.create_task(self._send(send)), asyncio.create_task(gone(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                sending.cancel()
                sent, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
                if isinstance(sent, Exception):
                    _log.warning("a stream of events broke off", task=self._task_id, error=str(sent))
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send) -> None:
        async with self._desk.frames(self._task_id, self._after) as frames:
            while True:
                try:
                    async with asyncio.timeout(self._desk.ping_s):
                        frame = await frames.get()
                except TimeoutError:
                    frame = PING
                if frame is None:
                    return
                await send({"type": "http.response.body", "body": frame, "more_body": True})


def _last_seen(request: Request) -> int:
    given = request.headers.get("last-event-id", "0")
    if not given.isdecimal() or len(given) > 18:
        raise InvalidInput(f"Last-Event-ID must be a sequence of the log, got {given[:40]!r}")
    return int(given)


def _told(record: Record) -> list[bytes]:
    """A message's events, each as a frame; the last one tells the sequence."""
    raws = decode(record.data, type=list[Raw]) if record.data[:1] == b"[" else [Raw(record.data)]
    frames = []
    for number, raw in enumerate(raws, 1):
        name = decode(raw, type=_Named).type.split(".")[2]
        frames.append(_frame(name, bytes(raw), record.seq if number == len(raws) else None))
    return frames


def _frame(name: str, data: bytes, seq: int | None = None) -> bytes:
    """One event; a line break in JSON is only space, and would end the line."""
    numbered = b"" if seq is None else b"id: %d\n" % seq
    line = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"%sevent: %s\ndata: %s\n\n" % (numbered, name.encode(), line)
