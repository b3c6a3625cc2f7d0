"""What a router has assigned that its projections do not show yet."""

from callboard.events.task import Assigned
from callboard.projections.load import Work


class OwnAssignments:
    """A set of tasks, each there from the decision until the projections have folded it, or it was not stored."""

    def __init__(self) -> None:
        self._by_task: dict[str, Assigned] = {}
        self._stored: dict[int, tuple[str, Assigned]] = {}

    def __len__(self) -> int:
        return len(self._by_task)

    def add(self, task_id: str, assigned: Assigned) -> None:
        """The task was decided on; an earlier decision about it no longer holds."""
        self._by_task[task_id] = assigned

    def drop(self, task_id: str) -> None:
        """The decision does not hold, or is seen by now."""
        self._by_task.pop(task_id, None)

    def stored(self, task_id: str, seq: int, *, folded: int) -> None:
        """The decision is in the log at ``seq``; the projections stand at ``folded``."""
        if seq <= folded:
            self.drop(task_id)
        elif assigned := self._by_task.get(task_id):
            self._stored[seq] = (task_id, assigned)

    def folded(self, seq: int) -> None:
        """The projections show everything up to ``seq``, which they reach one by one."""
        if stored := self._stored.pop(seq, None):
            task_id, assigned = stored
            if self._by_task.get(task_id) is assigned:
                self.drop(task_id)

    def work(self, priority: int = 0) -> dict[str, Work]:
        """By backend: all tasks, and the tokens and service of those that go before new work of a priority."""
        sums: dict[str, tuple[int, int, int]] = {}
        for one in self._by_task.values():
            tasks, tokens, service = sums.get(one.backend, (0, 0, 0))
            if one.priority >= priority:
                tokens, service = tokens + one.tokens, service + one.service
            sums[one.backend] = (tasks + 1, tokens, service)
        return {name: Work(*total) for name, total in sums.items()}
