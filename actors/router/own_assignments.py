"""What a router has assigned that its projections do not show yet."""

from callboard.events.task import Assigned
from callboard.projections.load import Work


class OwnAssignments:
    """Counted from the decision on, until the projections have folded it, or it was not stored after all."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = {}
        """By backend."""
        self._by_task: dict[str, Assigned] = {}
        self._stored: dict[int, tuple[str, Assigned]] = {}

    def add(self, task_id: str, assigned: Assigned) -> None:
        """The task was decided on; an earlier decision about it no longer holds."""
        self.drop(task_id)
        self._by_task[task_id] = assigned
        self._change(assigned, 1)

    def drop(self, task_id: str) -> None:
        """The decision does not hold, or is seen by now."""
        if assigned := self._by_task.pop(task_id, None):
            self._change(assigned, -1)

    def stored(self, task_id: str, seq: int, *, folded: int) -> None:
        """The decision is in the log at ``seq``; the projections stand at ``folded``."""
        if seq <= folded:
            self.drop(task_id)
        elif assigned := self._by_task.get(task_id):
            self._stored[seq] = (task_id, assigned)

    def folded(self, seq: int) -> None:
        """The projections have reached ``seq``."""
        if stored := self._stored.pop(seq, None):
            task_id, assigned = stored
            if self._by_task.get(task_id) is assigned:
                self.drop(task_id)

    def _change(self, assigned: Assigned, sign: int) -> None:
        now = self.work.get(assigned.backend, Work())
        self.work[assigned.backend] = Work(
            now.tasks + sign, now.tokens + sign * assigned.tokens, now.service + sign * assigned.service
        )
