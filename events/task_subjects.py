"""Which subject a task's message has, and who takes it from there."""

from collections.abc import Sequence
from typing import Final

from callboard.events.cascade import Answered, Declined
from callboard.events.placement import Hedged
from callboard.events.task import Assigned, Evaluated, Failed, Released, Requeued, Submitted, TaskEvent

ROUTERS: Final = "+routers"
"""The addressee of what routers act on; no backend is called so, since no id holds a ``+``."""

ROUTED: Final = f"evt.*.task.*.*.{ROUTERS}"
"""The subject of all that routers act on.

It is one, as a backend's is: a queue with two filters takes nats-server several times as long where a new file of its
log begins, and it then searches all subjects for each queue, and appends wait.
"""


def headline(events: Sequence[TaskEvent]) -> TaskEvent:
    """The event that gives their message its subject, since others act on it: the last one that is no judgement."""
    return next((event for event in reversed(events) if not isinstance(event, Evaluated)), events[-1])


def addressee(event: TaskEvent) -> tuple[str, ...]:
    """Who must act on ``event``, as the end of its subject: routers, or a backend, and the priority if it has one."""
    if isinstance(event, Submitted | Released | Failed | Answered | Declined | Requeued):
        return (ROUTERS,)
    if not isinstance(event, Assigned | Hedged):
        return ()
    return (event.backend, str(event.priority)) if event.priority else (event.backend,)


def work_subject(backend: str, priority: int = 0, *, kind: str = "assigned") -> str:
    """The subjects on which a backend is given work of one priority: ``assigned``, ``hedged``, or ``*`` for both.

    Workers ask for both by ``*``, since nothing else is addressed to a backend; see `ROUTED` for why.
    """
    return f"evt.*.task.*.{kind}.{backend}.{priority}" if priority else f"evt.*.task.*.{kind}.{backend}"


def work_queue(backend: str, priority: int = 0) -> str:
    """The queue of that work; no id holds a ``+``, so the queues of two backends never share a name."""
    return f"backend-{backend}+{priority}" if priority else f"backend-{backend}"
