"""Where a task is: the backends that may work on it, and their calls under way.

There is one, or two while a call is hedged: a second backend was asked because the first gave no token in time. The
first to complete wins; the call of the other is stopped, and booked as ``spent``.
"""

from typing import ClassVar, TypeAlias

from msgspec import Struct

from callboard.events.task_spec import Decision


class Hedged(Struct, frozen=True, gc=False, omit_defaults=True):
    """Another backend is asked as well, as the ``attempt``-th: ``call`` is under way and has given no token yet.

    The rest is as in ``assigned``.
    """

    type: ClassVar[str] = "callboard.task.hedged.v2"
    backend: str
    attempt: int
    call: int
    tokens: int
    decision: Decision
    priority: int = 0
    cached: int = 0
    service: int = 0


class Placement(Struct, frozen=True, gc=False):
    """A backend that has the task since its ``attempt``-th assignment; ``call`` is under way, 0 while it waits."""

    backend: str
    attempt: int
    call: int = 0


Placed: TypeAlias = tuple[Placement, ...]


def started(placed: Placed, backend: str, call: int) -> Placed:
    """The backend's call is under way."""
    attempt = next((one.attempt for one in placed if one.backend == backend), 0)
    begun = Placement(backend, attempt, call)
    return tuple(begun if one.backend == backend else one for one in placed) if attempt else (*placed, begun)


def interrupted(placed: Placed, call: int) -> Placed:
    """The call is no longer under way; its backend still has the task."""
    return tuple(Placement(one.backend, one.attempt) if one.call == call else one for one in placed)


def without(placed: Placed, backend: str) -> Placed:
    """The backend no longer has the task; without a name, none has."""
    return tuple(one for one in placed if one.backend != backend) if backend else ()


def is_with(placed: Placed, backend: str) -> bool:
    """Whether the backend has the task."""
    return any(one.backend == backend for one in placed)


def calls(placed: Placed) -> tuple[int, ...]:
    """The calls under way."""
    return tuple(one.call for one in placed if one.call)


def call_on(placed: Placed, backend: str) -> int:
    """The backend's call under way; 0 if there is none."""
    return next((one.call for one in placed if one.backend == backend), 0)
