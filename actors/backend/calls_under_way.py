"""The calls that a replica is making: stopped when nobody wants them any more."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final, TypeAlias

from callboard.actors.backend.call import Call
from callboard.actors.backend.providers.provider import Answer
from callboard.events.cascade import Answered
from callboard.events.envelope import Envelope
from callboard.events.task import Cancelled, Completed, DeadLettered, Expired, Interrupted

Running: TypeAlias = "asyncio.Task[Answer]"

HEEDED: Final = (Cancelled, Expired, DeadLettered, Completed, Answered, Interrupted)
"""The events that can make a call superfluous."""


class CallsUnderWay:
    """Calls by task and number. A task has two here only while one of them is being stopped."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[int, tuple[Call, Running]]] = {}
        self._unwanted: set[Running] = set()
        self._heard_at = 0

    def add(self, task_id: str, number: int, call: Call, running: Running) -> None:
        """A call begins."""
        self._calls.setdefault(task_id, {})[number] = (call, running)

    def remove(self, task_id: str, number: int) -> None:
        """A call has ended, and what came of it is told."""
        calls = self._calls[task_id]
        call, running = calls.pop(number)
        self._unwanted.discard(running)
        self._heard_at = max(self._heard_at, call.heard_at)
        if not calls:
            del self._calls[task_id]

    def is_unwanted(self, running: Running) -> bool:
        """Whether a call was stopped because nobody wants it, rather than with its worker."""
        return running in self._unwanted

    def is_late(self, task_id: str, number: int) -> bool:
        """Whether a call is still under way and has given no token."""
        call, _ = self._calls.get(task_id, {}).get(number, (None, None))
        return call is not None and not call.heard_at

    def told(self) -> Iterator[tuple[str, int, int, bool]]:
        """Task, number, how long it has been quiet (ns), and whether it gave a token: of each call."""
        for task_id, calls in self._calls.items():
            for number, (call, _) in calls.items():
                yield task_id, number, call.quiet, bool(call.heard_at)

    @property
    def heard_ns(self) -> int | None:
        """Ns since any call, also one that has ended, gave a token; None if none did."""
        under_way = (call.heard_at for calls in self._calls.values() for call, _ in calls.values())
        heard_at = max(under_way, default=0)
        heard_at = max(heard_at, self._heard_at)
        return time.monotonic_ns() - heard_at if heard_at else None

    def heed(self, envelope: Envelope) -> None:
        """Stop what an event makes superfluous: the task ended, by another call perhaps, or went elsewhere."""
        calls = self._calls.get(envelope.entity)
        if calls is None:
            return
        match envelope.event:
            case Cancelled() | Expired() | DeadLettered():
                self._stop(calls)
            case Completed(call=answered) | Answered(call=answered):
                self._stop({number: call for number, call in calls.items() if number != answered})
            case Interrupted(call=lost) if lost in calls:
                self._stop({lost: calls[lost]})

    def _stop(self, calls: dict[int, tuple[Call, Running]]) -> None:
        for _, running in calls.values():
            self._unwanted.add(running)
            running.cancel()
