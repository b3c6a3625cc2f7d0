"""What each router had assigned itself when it decided, beyond what it had seen of the log: told by the log, later.

A router counts its own assignments at once, also those on their way to the log. They have its ``source``, were decided
before by their time, and are stored after what it had seen.
"""

from bisect import bisect_left
from collections.abc import Mapping

from callboard.actors.router.own_assignments import OwnAssignments
from callboard.events.envelope import Envelope
from callboard.events.task import Assigned
from callboard.events.task_spec import Decision
from callboard.projections.load import Work

_NO_DECISION = Decision("", "", 0)


class _Made:
    """The assignments of one router in the order of their decisions."""

    def __init__(self) -> None:
        self.unsorted: list[tuple[float, int, str, Assigned]] = []
        self.keys: list[tuple[float, int]] = []
        self.latest: list[int] = []  # by place the highest sequence up to it

    def sort(self) -> None:
        """After the last one was noted."""
        self.unsorted.sort(key=lambda one: one[:2])
        self.keys = [one[:2] for one in self.unsorted]
        highest = 0
        for _, seq, _, _ in self.unsorted:
            highest = max(highest, seq)
            self.latest.append(highest)


class OwnWork:
    """The assignments of all routers; `note` them in any order, then `sort`."""

    def __init__(self) -> None:
        self._by_source: dict[str, _Made] = {}

    def note(self, seq: int, envelope: Envelope, event: Assigned) -> None:
        """One that is in the log at ``seq``; what is not needed of it is left out."""
        small = Assigned(event.backend, 0, event.tokens, _NO_DECISION, priority=event.priority, service=event.service)
        made = self._by_source.setdefault(envelope.source, _Made())
        made.unsorted.append((envelope.time.timestamp(), seq, envelope.entity, small))

    def sort(self) -> None:
        """All are noted."""
        for made in self._by_source.values():
            made.sort()

    def unseen(self, seq: int, envelope: Envelope, seen: int, priority: int) -> Mapping[str, Work]:
        """What the router of a decision, in the log at ``seq``, had assigned before and not seen up to ``seen``."""
        made = self._by_source.get(envelope.source)
        if made is None:
            return {}
        own, known = OwnAssignments(), {envelope.entity}
        place = bisect_left(made.keys, (envelope.time.timestamp(), seq)) - 1
        while place >= 0 and made.latest[place] > seen:
            _, stored, task, assigned = made.unsorted[place]
            if stored > seen and task not in known:
                own.add(task, assigned)
            known.add(task)
            place -= 1
        return own.work(priority) if len(own) else {}
