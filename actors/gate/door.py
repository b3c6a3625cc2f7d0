"""Where one backend comes to the gate: its processes are let in, heard, and given up when they fall silent.

All that a backend can do here it does to itself alone: what it says is bounded, by the message and by the second; who
says too much is not heard for a while.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final, Protocol

import structlog

from callboard.actors.backend.providers.provider import Provider
from callboard.actors.gate.allowance import REFUSALS_PER_S, Allowance
from callboard.actors.gate.belated import Belated, NoSuchWork
from callboard.actors.gate.guest import Guest
from callboard.actors.gate.parts import joiner_of_backend, messages
from callboard.actors.gate.words import (
    BEAT_S,
    MAX_ANSWER,
    MAX_CALLS,
    SILENT_S,
    Answered,
    ByBackend,
    ByGate,
    Closing,
    Heard,
    Hello,
    Here,
    Refused,
    Said,
    Settled,
    Unanswered,
    Unreadable,
    Welcome,
)
from callboard.bus.errors import BusError
from callboard.bus.log import Note, Signals
from callboard.bus.subjects import gate_desk, gate_door, told
from callboard.events.errors import InvalidId
from callboard.events.ids import checked_id

MAX_GUESTS: Final = 128
MAX_BELATED: Final = 1024
MAX_BELATED_SIZE: Final = 4 * MAX_ANSWER
"""Ends of calls that wait to be settled, and the characters in them; of more, each comes again later."""

LEFT: Final = 1024
"""So many processes that have left are remembered: what they said last may come after that."""

BARRED_S: Final = 10.0
LAST_S: Final = 2.0
"""How long the workers of a process that is gone have to let go of its work."""

GRACE_S: Final = 60.0
"""How long the workers of a process that leaves may take to finish."""

_log = structlog.get_logger(__name__)


class Crew(Protocol):
    """The workers that were hired for a process."""

    async def run(self) -> None:
        """Have them work until cancelled."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Have them take no more, and finish what is under way within ``grace_s``."""
        ...

    async def stop(self, grace_s: float) -> None:
        """End them, after as much grace."""
        ...


class Hire(Protocol):
    """Hires the workers of a backend for one process, which they know as a provider."""

    def __call__(self, name: str, caller: str, provider: Provider, slots: int) -> Crew:
        """No more than ``slots`` calls are to be made at a time, if that is not 0."""
        ...


class _Seat:
    """A process that was let in, with the workers that were hired for it; they begin if it is to be given work."""

    def __init__(self, guest: Guest, crew: Crew) -> None:
        self.guest = guest
        self.crew = crew
        self.working: asyncio.Task[None] | None = None
        self.leaving = False

    def begin(self) -> None:
        """Have the workers begin."""
        self.working = asyncio.create_task(self.crew.run())

    async def end(self, grace_s: float) -> None:
        """End the workers, after as much grace."""
        await self.crew.stop(grace_s)
        if self.working:
            self.working.cancel()
            await asyncio.gather(self.working, return_exceptions=True)


class Door:
    """The door of the backend ``name`` at the gate ``gate``."""

    def __init__(self, signals: Signals, name: str, gate: str, hire: Hire, belated: Belated) -> None:
        self._signals = signals
        self._name = name
        self._gate = gate
        self._hire = hire
        self._belated = belated
        self._seats: dict[str, _Seat] = {}
        self._joiner = joiner_of_backend()
        self._ends: asyncio.Queue[tuple[str, Answered | Unanswered]] = asyncio.Queue(MAX_BELATED)
        self._ends_size = 0
        self._allowance = Allowance()
        self._refusals = Allowance(REFUSALS_PER_S)
        self._flooded = asyncio.Event()
        self._closing = False
        self._left: OrderedDict[str, None] = OrderedDict()
        self._aside: set[asyncio.Task[None]] = set()
        self.refused = 0
        """How many messages were not taken."""

    async def run(self) -> None:
        """Let processes in until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._settle())
                while True:
                    await self._listen_until_flooded()
                    _log.warning("a backend said too much, and is not heard for a while", backend=self._name)
                    await asyncio.sleep(BARRED_S)
                    self._flooded.clear()
        finally:
            for task in (aside := list(self._aside)):
                task.cancel()
            await asyncio.gather(*aside, *map(self._part, list(self._seats.values())), return_exceptions=True)

    async def _listen_until_flooded(self) -> None:
        subjects = ((gate_door(self._name), self._greet), (gate_desk(self._name, self._gate), self._hear))
        stops = [await self._signals.subscribe(subject, receive) for subject, receive in subjects]
        try:
            await self._flooded.wait()
        finally:
            for stop in stops:
                await stop()

    async def close(self, grace_s: float) -> None:
        """Let nobody in, and let all go: what is not finished within ``grace_s`` goes on at another gate."""
        self._closing = True
        seats = list(self._seats.values())
        if grace_s:
            await asyncio.gather(*(seat.crew.drain(grace_s) for seat in seats))
        await asyncio.gather(*map(self._part, seats))

    def settled(self, call: str) -> None:
        """Tell whoever made a call that its end is in the log."""
        for seat in self._seats.values():
            if seat.guest.settled(call):
                self._soon(seat.guest.post(Settled(call)))

    def _holder(self, call: str) -> Guest | None:
        guests = (seat.guest for seat in self._seats.values())
        return next((guest for guest in guests if call in guest.calls and not guest.gone), None)

    async def _greet(self, note: Note) -> None:
        if not self._is_allowed(note):
            return
        try:
            word = self._joiner.word(note.data)
        except Unreadable as error:
            self._count_refusal(str(error))
            return
        if isinstance(word, Hello) and not self._closing:
            if len(self._seats) < MAX_GUESTS:
                await self._post(word.caller, Welcome(self._gate))
            else:
                self._count_refusal(f"there are {MAX_GUESTS} processes of this backend: start another gate")

    async def _hear(self, note: Note) -> None:
        if not self._is_allowed(note):
            return
        try:
            caller = checked_id(note.subject.rpartition(".")[2], "caller")
        except InvalidId as error:
            self._count_refusal(str(error))
            return
        try:
            word = self._joiner.word(note.data, caller)
        except Unreadable as error:
            await self._refuse(caller, str(error))
            return
        seat = self._seats.get(caller)
        if seat is None and isinstance(word, Here):
            seat = self._let_in(caller, word)
        if seat is not None and word is not None:
            await self._take(seat, word)

    def _is_allowed(self, note: Note) -> bool:
        if self._allowance.take(len(note.data), time.monotonic()):
            return True
        self._flooded.set()
        return False

    def _let_in(self, caller: str, word: Here) -> _Seat | None:
        if self._closing or len(self._seats) >= MAX_GUESTS or caller in self._left:
            return None

        async def post(said: ByGate) -> None:
            await self._post(caller, said)

        guest = Guest(caller, post, self._holder)
        guest.heard(word)
        crew = self._hire(self._name, caller, guest, min(word.slots or MAX_CALLS, MAX_CALLS))
        seat = self._seats[caller] = _Seat(guest, crew)
        if not word.leaving:
            seat.begin()
        self._soon(self._watch_over(seat))
        _log.info("a process of a backend is let in", backend=self._name, caller=caller, slots=word.slots)
        return seat

    async def _take(self, seat: _Seat, word: ByBackend) -> None:
        guest = seat.guest
        match word:
            case Here():
                guest.heard(word)
                await guest.post(Heard())
                await guest.hand_out_again()
                if word.leaving and not seat.leaving:
                    seat.leaving = True
                    self._soon(self._see_out(seat))
            case Said():
                guest.told(word)  # of a call that nobody waits for, nobody wants the text
            case Answered() | Unanswered():
                if not guest.told(word) and not self._is_ours(word.call):
                    self._keep(guest.caller, word)
            case Hello():
                pass  # it has been let in

    def _is_ours(self, call: str) -> bool:
        return any(seat.guest.is_ours(call) for seat in self._seats.values())

    def _keep(self, caller: str, word: Answered | Unanswered) -> None:
        """Have the end of a call settled; if there is no room for it, when it is told again."""
        if self._ends_size < MAX_BELATED_SIZE:
            with suppress(asyncio.QueueFull):
                self._ends.put_nowait((caller, word))
                self._ends_size += _size(word)

    async def _settle(self) -> None:
        """Settle what no worker waits for, one after another: who guesses has to wait."""
        while True:
            caller, word = await self._ends.get()
            self._ends_size -= _size(word)
            try:
                await self._belated.settle(word)
                await self._post(caller, Settled(word.call))
            except NoSuchWork as error:
                await self._refuse(caller, str(error), word.call)
                await asyncio.sleep(1 / REFUSALS_PER_S)
            except BusError as error:
                _log.warning("bus trouble, will be told again", backend=self._name, error=str(error))
            except Exception:
                _log.exception("the end of a call can't be told", backend=self._name, call=word.call)

    async def _watch_over(self, seat: _Seat) -> None:
        """Give a process up that is silent. One that could not be heard because we were busy ourselves is not."""
        loop = asyncio.get_running_loop()
        while self._seats.get(seat.guest.caller) is seat:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            if loop.time() - due > SILENT_S / 4:
                seat.guest.heard_at = time.monotonic()
            elif seat.guest.silent:
                _log.warning("a process of a backend is gone", backend=self._name, caller=seat.guest.caller)
                seat.guest.lose()
                await self._part(seat)

    async def _see_out(self, seat: _Seat) -> None:
        """Let a process go that leaves, as soon as nothing of its is open."""
        await seat.crew.drain(GRACE_S)
        await seat.guest.idle.wait()
        self._left[seat.guest.caller] = None
        if len(self._left) > LEFT:
            self._left.popitem(last=False)
        await self._part(seat)

    async def _part(self, seat: _Seat) -> None:
        """End the workers of a process. Its calls go on, if it is there: another gate may take what comes of them."""
        guest = seat.guest
        if self._seats.get(guest.caller) is not seat:
            return
        del self._seats[guest.caller]
        guest.parting = True
        await seat.end(LAST_S if guest.gone else 0.0)
        if not guest.gone:
            await guest.post(Closing())

    def _soon(self, doing: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(doing)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _count_refusal(self, why: str) -> bool:
        """Count what was not taken; whether that may be said as well."""
        self.refused += 1
        if not self._refusals.take(0, time.monotonic()):
            return False
        _log.warning("a backend was refused", backend=self._name, why=why, refused=self.refused)
        return True

    async def _refuse(self, caller: str, why: str, call: str | None = None) -> None:
        if self._count_refusal(why):
            await self._post(caller, Refused(why, call))

    async def _post(self, caller: str, word: ByGate) -> None:
        with suppress(BusError):  # as if it had been lost on the way: what matters is said again
            for message in messages(word):
                await self._signals.publish(told(self._name, caller), message)


def _size(word: Answered | Unanswered) -> int:
    """Characters of an end, about."""
    if isinstance(word, Unanswered):
        return len(word.message)
    return len(word.answer.text) + sum(len(call.arguments) for call in word.answer.tool_calls)
