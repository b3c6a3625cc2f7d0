"""What a router has assigned that its projections do not show yet."""

from collections import Counter
from typing import NamedTuple


class _Assignment(NamedTuple):
    backend: str
    tokens: int
    priority: int


class OwnAssignments:
    """A set of tasks, each there from the decision until its event is folded, or until there is none."""

    def __init__(self) -> None:
        self._by_task: dict[str, _Assignment] = {}
        self._stored: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._by_task)

    def add(self, task_id: str, backend: str, tokens: int, priority: int) -> None:
        """It was decided that the backend gets the task."""
        self._by_task[task_id] = _Assignment(backend, tokens, priority)

    def drop(self, task_id: str) -> None:
        """It was not, or it is decided anew."""
        self._by_task.pop(task_id, None)

    def stored(self, task_id: str, seq: int, *, folded: int) -> None:
        """The decision is in the log at ``seq``; the projections stand at ``folded``."""
        if seq <= folded:
            self.drop(task_id)
        elif task_id in self._by_task:
            self._stored[seq] = task_id

    def folded(self, seq: int) -> None:
        """The projections show everything up to ``seq``, which they reach one by one."""
        if task_id := self._stored.pop(seq, None):
            self.drop(task_id)

    def ahead(self, priority: int) -> dict[str, int]:
        """The tokens at each backend that will be worked on before new work of a priority."""
        ahead: dict[str, int] = {}
        for backend, tokens, other in self._by_task.values():
            if other >= priority:
                ahead[backend] = ahead.get(backend, 0) + tokens
        return ahead

    def counts(self) -> Counter[str]:
        """How many tasks each backend was given."""
        return Counter(one.backend for one in self._by_task.values())
