"""The steps of a turn: each is done once, under its name, and gives the same result ever after."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, TypeVar

from callboard.actors.agents.apart import Apart
from callboard.actors.agents.bells import Bells
from callboard.actors.agents.errors import StepError, StepFailed
from callboard.actors.agents.journal import Journal
from callboard.bus.clock import now
from callboard.events.agent import Work
from callboard.events.agent_events import NOTHING, StepFailure, Stepped, Value
from callboard.events.agent_names import name_of
from callboard.events.agent_step import Step

T = TypeVar("T")

LONGEST_NAME: Final = 200

_NEW: Final = Step()
_inside: ContextVar[str] = ContextVar("step", default="")
"""The step whose function runs here."""


class Steps:
    """The steps of one turn. ``changed`` is called whenever one begins to wait, or ends."""

    def __init__(self, journal: Journal, work: Work, apart: Apart, bells: Bells, changed: Callable[[], None]) -> None:
        self.journal = journal
        self._apart = apart
        self._work = work
        self._bells = bells
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._names: set[str] = set()
        self._open: dict[str, Coroutine[Any, Any, Any]] = {}
        self._waiting: dict[str, dict[str, datetime | None]] = {}
        self.once: set[str] = set()
        """Those that nobody but a person may have tried again."""

    def step(
        self, name: str, perform: Callable[[Step], Awaitable[Step]], result: Callable[[Step], Awaitable[T]]
    ) -> Coroutine[Any, Any, T]:
        """A step: unless it is done, ``perform`` gets it done; ``result`` is what it gives. Raises StepError."""
        self._check(name)
        self._names.add(name)
        self._open[name] = coroutine = self._performed(name, perform, result)
        return coroutine

    async def get_done(self, name: str, step: Step, perform: Callable[[Step], Awaitable[Step]]) -> Step:
        """The step when it is done, which it is not yet."""
        return await perform(step)

    def done(self, name: str, value: Value = NOTHING, failure: StepFailure | None = None, on: str = "") -> Step:
        """The step has ended, and the log will say so before anything that is said later."""
        self.journal.soon(Stepped(name, value, failure, on))
        return Step(done=True, value=value, failure=failure, on=on)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """The function of a step runs: nothing in it is a step of its own."""
        token = _inside.set(name)
        try:
            yield
        finally:
            _inside.reset(token)

    @contextmanager
    def waiting(self, name: str, wait: str, until: datetime | None = None) -> Iterator[asyncio.Event]:
        """The step does nothing but wait for ``wait``, or ``until`` then; the event is set when it may have come."""
        self._waiting[name] = {wait: None} | ({f"timer/{name}": until} if until else {})
        self._changed()
        try:
            with self._bells.listening(wait) as bell:
                yield bell
        finally:
            del self._waiting[name]
            self._changed()

    async def wait_for(self, name: str, wait: str, has_come: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what others' events tell of, until ``has_come`` says that it has."""
        with self.waiting(name, wait) as bell:
            while not await has_come():
                await bell.wait()
                bell.clear()

    async def sleep(self, name: str, until: datetime) -> None:
        """Wait until then."""
        with self.waiting(name, f"timer/{name}", until):
            await asyncio.sleep(max(0.0, (until - now()).total_seconds()))

    @property
    def waits(self) -> dict[str, datetime | None] | None:
        """All that is left to wait for, with the time of what is a timer; None if there is anything else to do."""
        if not 0 < len(self._open) == len(self._waiting):
            return None
        return {wait: until for waits in self._waiting.values() for wait, until in waits.items()}

    def close(self) -> None:
        """The handler has ended. Raises StepError when it left steps behind."""
        left, self._open = self._open, {}
        for coroutine in left.values():
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        self.journal.closed = True
        if left:
            names = ", ".join(map(repr, left))
            raise StepError(f"the handler ended before step {names} did: await every step")

    async def _performed(
        self, name: str, perform: Callable[[Step], Awaitable[Step]], result: Callable[[Step], Awaitable[T]]
    ) -> T:
        try:
            if asyncio.get_running_loop() is not self._loop:
                raise StepError(f"step {name!r} is awaited in another event loop: await it in the handler")
            step = self._work.steps.get(name, _NEW)
            if not step.done:
                step = await self.get_done(name, step, perform)
            if step.failure:
                raise StepFailed(name, step.failure)
            return await result(await self._apart.whole(name, step))
        finally:
            self._open.pop(name, None)
            self._changed()

    def _check(self, name: str) -> None:
        where = f"agent {name_of(self.journal.agent_id)}: step {name!r}"
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise StepError(f"{where[:200]}: a step is named by a text of 1 to {LONGEST_NAME} characters")
        if self.journal.closed:
            raise StepError(f"{where} begins after its handler has ended: await it there")
        if inner := _inside.get():
            raise StepError(f"{where} begins inside of step {inner!r}: what runs in a step can't be taken apart")
        if name in self._names:
            raise StepError(f"{where} is there twice: give each its own name, as {name + '-2'!r}")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise StepError(f"{where} begins in another thread: only a handler itself takes steps") from None
