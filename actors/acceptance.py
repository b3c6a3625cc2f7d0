"""What is seen to before a task goes into the log, whoever asks for it."""

from callboard.actors.budgets import check_budget
from callboard.actors.claim_check import with_input_aside
from callboard.actors.contexts import Contexts
from callboard.actors.reading import about, pinned
from callboard.bus.entities import Entities
from callboard.events.context_version import context_version
from callboard.events.task import Task
from callboard.events.task_spec import TaskSpec


class Acceptance:
    """Takes in tasks; it remembers which budgets there are."""

    def __init__(self, contexts: Contexts, tasks: Entities[Task]) -> None:
        self._contexts = contexts
        self._tasks = tasks
        self._budgets: set[str] = set()

    async def accept(self, spec: TaskSpec) -> TaskSpec:
        """The task for the log: its budget exists, its context is pinned to a version, a large input lies aside.

        It is about the person that it says, or that its parent or its context is about; then that person has a key.

        Raises:
            InvalidInput: there is no such budget, or the context can't be read so; see `pinned`; or it says that it is
                about one person, and what it is part of about another.
            Locked: it is about a person, and no master key is at hand.
            BusError: the log can't be reached.
        """
        await check_budget(self._contexts.bus.log, self._budgets, spec.budget)
        if spec.parent and (parent := (await self._tasks.load(spec.parent)).state.spec):
            spec = about(spec, parent.private or "", f"its parent, task {spec.parent},")
        spec = await pinned(self._contexts, spec)
        if spec.private:
            await self._contexts.bus.privacy.keyring.welcome(spec.private)
        return await with_input_aside(self._contexts.bus, spec)

    async def plan(self, spec: TaskSpec) -> TaskSpec:
        """The same of a task that is submitted later, once or more: its context exists, and is pinned by then."""
        await check_budget(self._contexts.bus.log, self._budgets, spec.budget)
        if spec.context is not None:
            context = await self._contexts.state(*context_version(spec.context))
            spec = about(spec, context.private, f"context {context.id}")
        if spec.private:
            await self._contexts.bus.privacy.keyring.welcome(spec.private)
        return await with_input_aside(self._contexts.bus, spec)
