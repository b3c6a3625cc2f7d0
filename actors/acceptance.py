"""What is seen to before a task goes into the log, whoever asks for it."""

from callboard.actors.budgets import check_budget
from callboard.actors.claim_check import with_input_aside
from callboard.actors.contexts import Contexts
from callboard.actors.reading import pinned
from callboard.events.context_version import context_version
from callboard.events.task_spec import TaskSpec


class Acceptance:
    """Takes in tasks; it remembers which budgets there are."""

    def __init__(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self._budgets: set[str] = set()

    async def accept(self, spec: TaskSpec) -> TaskSpec:
        """The task for the log: its budget exists, its context is pinned to a version, a large input lies aside.

        Raises:
            InvalidInput: there is no such budget, or the context can't be read so; see `pinned`.
            BusError: the log can't be reached.
        """
        await check_budget(self._contexts.bus.log, self._budgets, spec.budget)
        return await with_input_aside(self._contexts.bus, await pinned(self._contexts, spec))

    async def plan(self, spec: TaskSpec) -> TaskSpec:
        """The same of a task that is submitted later, once or more: its context exists, and is pinned by then."""
        await check_budget(self._contexts.bus.log, self._budgets, spec.budget)
        if spec.context is not None:
            await self._contexts.state(*context_version(spec.context))
        return await with_input_aside(self._contexts.bus, spec)
