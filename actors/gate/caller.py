"""The backend's side of the gate: a process that makes a backend's calls, and has no part in anything else.

It finds a gate, says every half second that it is there, and makes the calls that it is handed: each once, whatever
comes twice. What came of a call is kept, and said again, until the gate says that it is in the log: so neither a lost
message nor a gate that died loses an answer that was paid for.
"""

import asyncio
import time
from collections import OrderedDict
from contextlib import aclosing, suppress
from secrets import token_hex
from typing import Final, assert_never

import structlog

from callboard.actors.backend.providers.provider import Answer, FailureKind, Provider, ProviderError, Request
from callboard.actors.discretion import discreet
from callboard.actors.gate.parts import joiner_of_gate, messages
from callboard.actors.gate.words import (
    BEAT_S,
    GATHER_S,
    MAX_ANSWER,
    RESEND_S,
    SILENT_S,
    Answered,
    ByBackend,
    Closing,
    Heard,
    Hello,
    Here,
    Make,
    Refused,
    Said,
    Settled,
    Stop,
    Unanswered,
    Unreadable,
    Welcome,
)
from callboard.actors.secrets import NO_SECRETS, Secrets
from callboard.bus.errors import BusError
from callboard.bus.log import Note, Signals
from callboard.bus.subjects import gate_desk, gate_door, told

KEPT_S: Final = 600.0
"""How long the end of a call is kept for a gate that takes it."""

SOMEBODY: Final = "(not told)"
"""Whom a private call is about, as far as this side knows."""

REMEMBERED: Final = 10_000
"""Calls that are over, of which none is made again."""

_log = structlog.get_logger(__name__)


class _Call:
    """One that was handed to us; ``end`` are the messages that tell its end, once it has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.making: asyncio.Task[None] | None = None
        self.text = ""
        self.told = 0
        self.more = asyncio.Event()
        self.end: list[bytes] = []
        self.ended_at = 0.0
        self.sent_at = 0.0


class Caller:
    """Makes the calls of the backend ``name`` with ``provider``, at most ``slots`` at a time (0: as registered).

    What the provider says of a failure is told without the ``secrets``.
    """

    def __init__(
        self, signals: Signals, name: str, provider: Provider, slots: int = 0, secrets: Secrets = NO_SECRETS
    ) -> None:
        self._signals = signals
        self._name = name
        self._provider = provider
        self._slots = slots
        self._secrets = secrets
        self._joiner = joiner_of_gate()
        self._calls: dict[str, _Call] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._gate = ""
        self._heard_at = 0.0
        self._leaving = False
        self._released = asyncio.Event()
        self.id = token_hex(8)
        self.attached = asyncio.Event()
        """Set while a gate has it."""

    async def run(self) -> None:
        """Work until cancelled; calls under way are given up then."""
        stop = await self._signals.subscribe(told(self._name, self.id), self._hear)
        try:
            while True:
                await self._beat()
                await asyncio.sleep(BEAT_S)
        finally:
            await stop()
            making = [call.making for call in self._calls.values() if call.making]
            for task in making:
                task.cancel()
            await asyncio.gather(*making, return_exceptions=True)

    async def drain(self, grace_s: float) -> None:
        """Take no more calls, and finish those under way within ``grace_s``; at once if no gate ever had us."""
        self._leaving = True
        if not self._gate and not self._calls:
            return
        try:
            async with asyncio.timeout(grace_s):
                await self._say(self._here())
                await self._released.wait()
        except TimeoutError:
            _log.warning("calls are given up", backend=self._name, calls=len(self._calls))

    async def _beat(self) -> None:
        now = time.monotonic()
        if self._gate and now - self._heard_at > SILENT_S:
            _log.warning("the gate is silent: looking for another", backend=self._name, gate=self._gate)
            self._lose()
        if not self._gate:
            await self._publish(gate_door(self._name), messages(Hello(self.id)))
            return
        await self._say(self._here())
        for name, call in list(self._calls.items()):
            if call.end and now - call.ended_at > KEPT_S:
                _log.error("the end of a call was not taken by any gate", backend=self._name, call=name)
                await self._forget(name)
            elif call.end and now - call.sent_at > RESEND_S:
                await self._tell_end(call)

    async def _hear(self, note: Note) -> None:
        try:
            word = self._joiner.word(note.data)
        except Unreadable as error:
            _log.warning("the gate said something that can't be read", backend=self._name, error=str(error))
            return
        match word:
            case None:
                return
            case Welcome(gate=gate):
                await self._attach(gate)
            case Heard():
                self._heard_at = time.monotonic()
            case Make(request=request, private=private):
                await self._take(request, private=private)
            case Stop(call=call) | Settled(call=call):
                await self._forget(call)
            case Refused(why=why, call=refused):
                _log.warning("the gate refused something", backend=self._name, why=why)
                if refused:
                    await self._forget(refused)
            case Closing():
                self._released.set()
                self._lose()
            case _:
                assert_never(word)

    async def _attach(self, gate: str) -> None:
        if self._gate:
            return  # of several gates, the first
        self._gate, self._heard_at = gate, time.monotonic()
        await self._say(self._here())
        for call in self._calls.values():
            if call.end:
                await self._tell_end(call)
        self.attached.set()
        _log.info("at work", backend=self._name, gate=gate, caller=self.id)

    def _lose(self) -> None:
        self._gate = ""
        self.attached.clear()

    async def _take(self, request: Request, *, private: bool) -> None:
        name = request.call_id
        if known := self._calls.get(name):
            if known.end:
                await self._tell_end(known)
        elif name not in self._over:
            call = self._calls[name] = _Call(name)
            call.making = asyncio.create_task(self._make(request, call, private=private))

    async def _make(self, request: Request, call: _Call, *, private: bool) -> None:
        discreet(SOMEBODY if private else None)
        telling = asyncio.create_task(self._tell(call))
        try:
            end = await self._answer(request, call)
        finally:
            telling.cancel()
        call.end = messages(end)
        if sum(map(len, call.end)) > MAX_ANSWER:
            usage = end.answer.usage if isinstance(end, Answered) else end.usage
            why = f"the answer is too large: over {MAX_ANSWER} bytes"
            call.end = messages(Unanswered(call.name, FailureKind.MALFORMED, why, usage=usage))
        call.ended_at = time.monotonic()
        await self._tell_text(call)
        await self._tell_end(call)

    async def _answer(self, request: Request, call: _Call) -> Answered | Unanswered:
        name = call.name
        try:
            async with aclosing(self._provider.stream(request)) as parts:
                async for part in parts:
                    if isinstance(part, Answer):
                        return Answered(name, part)
                    call.text += part.text
                    call.more.set()
        except ProviderError as error:
            why = self._secrets.masked(str(error))
            return Unanswered(name, error.kind, why, error.retry_after_ns, error.usage)
        except Exception as error:
            _log.exception("provider failed", backend=self._name, call=name)
            why = self._secrets.masked(f"{type(error).__name__}: {error}")
            return Unanswered(name, FailureKind.UNAVAILABLE, why)
        return Unanswered(name, FailureKind.MALFORMED, "the answer ended before its end")

    async def _tell(self, call: _Call) -> None:
        """Tell the text as it comes."""
        while True:
            await call.more.wait()
            call.more.clear()
            await self._tell_text(call)
            await asyncio.sleep(GATHER_S)

    async def _tell_text(self, call: _Call) -> None:
        text, call.text = call.text, ""
        at, call.told = call.told, call.told + len(text)
        if text:
            await self._say(Said(call.name, at, text))

    async def _tell_end(self, call: _Call) -> None:
        call.sent_at = time.monotonic()
        if self._gate:
            await self._publish(gate_desk(self._name, self._gate, self.id), call.end)

    async def _forget(self, name: str) -> None:
        """A call is over: settled, or not wanted any more."""
        call = self._calls.pop(name, None)
        if call and call.making:
            call.making.cancel()
        self._over[name] = None
        if len(self._over) > REMEMBERED:
            self._over.popitem(last=False)
        if self._leaving and not self._calls:
            await self._say(self._here())

    def _here(self) -> Here:
        return Here(self._slots, tuple(self._calls), self._leaving)

    async def _say(self, word: ByBackend) -> None:
        if self._gate:
            await self._publish(gate_desk(self._name, self._gate, self.id), messages(word))

    async def _publish(self, subject: str, said: list[bytes]) -> None:
        with suppress(BusError):  # as if it had been lost on the way: what matters is said again
            for message in said:
                await self._signals.publish(subject, message)
