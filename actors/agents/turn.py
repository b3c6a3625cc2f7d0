"""A turn: one message, as its handler works at it, in steps that are done once whatever happens.

A step is known by its name. Once it is done its result is in the log: after a crash, or a deploy, the handler runs
again from the top, and what it did before gives what it gave before. Steps may be added, renamed, put in another order
or removed at any time: a step that was never done is done, a result that nobody asks for is left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from inspect import isawaitable, iscoroutinefunction
from typing import Any

import structlog

from callboard.actors.agents.errors import StepFailed
from callboard.actors.agents.hand_off import HandOffs
from callboard.actors.agents.live_trace import below
from callboard.actors.agents.memory import Memory
from callboard.actors.agents.services import Services
from callboard.actors.agents.steps import Steps
from callboard.actors.agents.values import encoded, failure_of, read, value_of
from callboard.actors.context_handle import ContextHandle
from callboard.actors.outcome import Outcome, outcome_of
from callboard.actors.submission import after, id_from
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST
from callboard.bus.log import Bus
from callboard.events.agent import AgentState, Work
from callboard.events.agent_events import Began, HandOff, Paused, Sent, StepFailure, Value
from callboard.events.agent_names import id_of, name_of
from callboard.events.agent_step import Step
from callboard.events.agent_trace import step_key, step_span
from callboard.events.approval import OUTCOMES, Approval
from callboard.events.context import Operation
from callboard.events.errors import CallboardError
from callboard.events.task import ENDED, Status
from callboard.events.trace import SpanContext

_log = structlog.get_logger(__name__)


class Turn:
    """One message, as its handler works at it. All its steps have names of their own, each used once in a turn."""

    def __init__(self, services: Services, steps: Steps, work: Work, memory: Memory) -> None:
        self._services = services
        self._board = services.board
        self._steps = steps
        self._journal = steps.journal
        self._work = work
        self._memory = memory
        self._hand_offs = HandOffs(services, steps.journal.agent_id, work)

    @property
    def agent(self) -> str:
        """The name of the agent: ``writer/customer-42``."""
        return name_of(self._journal.agent_id)

    @property
    def agent_id(self) -> str:
        """The id of the agent, which is also that of its own context."""
        return self._journal.agent_id

    @property
    def bus(self) -> Bus:
        """The bus, for whatever a turn has no step for."""
        return self._board.bus

    @property
    def message(self) -> str:
        """The id of the message."""
        return self._work.received.message

    @property
    def sender(self) -> str:
        """The name of the agent that the message is from; empty if it came from elsewhere."""
        return name_of(self._work.received.sender)

    @property
    def contexts(self) -> tuple[ContextHandle, ...]:
        """The contexts that came along with a hand-off: forks, for this agent alone to change."""
        handed = self._work.received.handoff
        return tuple(self.context(each.context) for each in handed.manifest) if handed else ()

    @property
    def deadline(self) -> datetime | None:
        """Until when an answer counts, if it is a hand-off with a deadline."""
        handed = self._work.received.handoff
        return handed.deadline if handed else None

    @property
    def budget(self) -> str | None:
        """The budget that came along with a hand-off; `task` and `model` spend from it unless told otherwise."""
        handed = self._work.received.handoff
        return handed.budget if handed else None

    @property
    def private(self) -> str:
        """The person that the message is about, if any: so are all steps, tasks and what is remembered of it."""
        return self._work.received.private

    def run(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        once: bool = False,
        timeout_s: float | None = None,
        needs: str = "",
    ) -> Coroutine[Any, Any, Any]:
        """Call a function, ``async`` or not, and return its result as JSON gives it back.

        Args:
            name: of the step.
            function: one that is not ``async`` runs in a thread of its own.
            *arguments: what it is called with.
            once: never run it twice: if a crash hides whether it ended, it fails as ``unknown``, and if its failure is
                not caught, the message is set aside; only when a person has that tried again, it runs again. Else it
                runs again by itself, and the log says so.
            timeout_s: how long it may take; None: for ever. A thread can't be stopped, only left alone.
            needs: the `approve` step that has allowed it: the log says so, and `callboard audit` checks that it did.

        Raises StepFailed when the function raises, takes too long, or returns what can't be kept (see `LARGEST`).
        """

        async def perform(step: Step) -> Step:
            if once and step.runs > step.tries:  # it began more often than it failed
                why = f"it was interrupted, and must not run twice (it ran {step.runs} times)"
                return self._steps.done(name, failure=StepFailure("unknown", why))
            await self._journal.say(Began(name, step.runs + 1, needs))
            try:
                with self._steps.inside(name), below(self._span(name)):
                    result = await _called(function, arguments, timeout_s)
                data = encoded(result, f"the result of step {name!r}")
            except Exception as error:  # whatever it is, it is the step's
                meant = isinstance(error, CallboardError)
                _log.warning("a step failed", agent=self.agent, step=name, error=str(error), exc_info=not meant)
                return self._steps.done(name, failure=failure_of(error))
            return self._steps.done(name, await value_of(self._board.bus, data, self.private))

        if once:
            self._steps.once.add(name)
        return self._steps.step(name, perform, self._value)

    def task(self, name: str, input: Any = "", **fields: Any) -> Coroutine[Any, Any, Outcome]:  # noqa: A002
        """Submit a task and wait for how it ends, well or not; ``input`` and ``fields`` as in `Board.submit`.

        Raises InvalidInput when the task can't be asked for like that.
        """
        return self._steps.step(name, self._tasked(name, input, fields), self._outcome)

    def model(self, name: str, prompt: Any = "", **fields: Any) -> Coroutine[Any, Any, str]:
        """Ask a model and return its text: as `task`, but raises StepFailed when there is no answer."""

        async def text(step: Step) -> str:
            outcome = await self._outcome(step)
            if outcome.status is not Status.COMPLETED:
                raise StepFailed(name, StepFailure(outcome.status, f"task {outcome.task}: {outcome.reason}"))
            return str(outcome.output or "")

        return self._steps.step(name, self._tasked(name, prompt, fields), text)

    def approve(
        self, name: str, action: Any, *, question: str = "", expires_s: float | None = None
    ) -> Coroutine[Any, Any, Approval]:
        """Ask people whether ``action`` may be done, and wait for how that ends; see `Board.ask`.

        It may be done only if the ``status`` is ``"approved"``: there are denied, expired and superseded as well.
        """
        approvals = self._board.approvals

        async def perform(step: Step) -> Step:
            key, by = self._key(name, step), self._journal.agent_id
            asked = await approvals.request(
                action,
                question=question,
                by=by,
                owner=by,
                expires_s=expires_s,
                key=key,
                private=self.private,
                context=self._span(name),
            )

            async def ended() -> bool:
                return (await approvals.state(asked.id)).status in OUTCOMES

            await self._steps.wait_for(name, wait := f"approval/{asked.id}", ended)
            return self._steps.done(name, on=wait)

        async def answer(step: Step) -> Approval:
            return await approvals.state(_id(step.on))

        return self._steps.step(name, perform, answer)

    def sleep(self, name: str, seconds: float) -> Coroutine[Any, Any, None]:
        """Wait, for seconds or for months: nothing is held in memory for long, and a crash does not begin it anew."""

        async def perform(step: Step) -> Step:
            until = step.until or after(now(), seconds, "seconds")
            assert until is not None
            if step.until is None:
                self._journal.soon(Paused(name, until))
            await self._steps.sleep(name, until)
            return self._steps.done(name)

        return self._steps.step(name, perform, _nothing)

    def send(self, name: str, to: str, body: Any) -> Coroutine[Any, Any, None]:
        """Send another agent a message, once, and wait for no answer. Raises StepFailed when nobody is called so."""

        async def perform(_step: Step) -> Step:
            if failure := self._hand_offs.refusal(to, waits=False):
                return self._steps.done(name, failure=failure)
            return await self._mail(name, to, body)

        return self._steps.step(name, perform, _nothing)

    def handoff(
        self,
        name: str,
        to: str,
        body: Any,
        *,
        contexts: Sequence[str] = (),
        budget: str | None = None,
        max_cost: int | None = None,
        deadline_s: float | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Hand something over to another agent, and return its answer.

        Args:
            name: of the step.
            to: the agent: ``researcher`` or ``researcher/customer-42``.
            body: what it is asked, as JSON.
            contexts: ids of contexts that it gets a fork of, each as it is now; merge what it learned as you like.
            budget: what it may spend from; None: what this one got. In another cell it is that one's of this name.
            max_cost: how much of that, in micro-dollars: a budget of its own is cut off for it.
            deadline_s: how long to wait; a later answer is recorded, and changes nothing.

        Raises StepFailed: it is ``refused`` (nobody is called so, or who is waits for this agent itself), its
        ``deadline`` is over, or the other failed.
        """

        async def perform(step: Step) -> Step:
            if not step.asked:
                failure = self._hand_offs.refusal(to, waits=True)
                if failure := failure or self._hand_offs.refusal_to_give(to, contexts, budget, max_cost):
                    return self._steps.done(name, failure=failure)
                until = after(now(), deadline_s, "deadline_s")
                person = await self._hand_offs.person(id_of(to))
                offer = await self._hand_offs.offer(self._key(name, step), contexts, budget, max_cost, until, person)
                step = await self._mail(name, to, body, offer)
            else:
                step = _of(await self._journal.newest(), name)
            return await self._answered(name, to, step)

        return self._steps.step(name, perform, self._value)

    def change(self, name: str, context: str, *operations: Operation) -> Coroutine[Any, Any, int]:
        """Change a shared context, once; returns its version after that. See `Contexts.change`."""

        async def perform(step: Step) -> Step:
            by, cause = self._journal.agent_id, self._key(name, step)
            version = await self._board.contexts.change(context, *operations, by=by, cause=cause, private=self.private)
            return self._steps.done(name, Value(version))

        return self._steps.step(name, perform, self._value)

    def now(self, name: str) -> Coroutine[Any, Any, datetime]:
        """The time when this step was first reached."""

        async def perform(_step: Step) -> Step:
            return self._steps.done(name, Value(now().isoformat()))

        async def time(step: Step) -> datetime:
            return datetime.fromisoformat(step.value.json)

        return self._steps.step(name, perform, time)

    async def gather(self, *steps: Awaitable[Any]) -> list[Any]:
        """The results of several steps at a time, in order. If some fail, raises the first's when all are over."""
        results = await asyncio.gather(*steps, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    def describe(self, definition: str) -> str:
        """What agents of a definition say of themselves, if anything."""
        known = self._services.known().get(definition)
        return known.description if known else ""

    def context(self, context_id: str) -> ContextHandle:
        """A shared context, to read; change it in a step, by `change` or `run`."""
        return self._board.context(context_id, private=self.private)

    def remember(self, key: str, value: Any) -> None:
        """Keep ``value`` (JSON) for later messages, from the moment when this one is done with; None forgets.

        Raises InvalidInput when it is more than the end of a message can hold.
        """
        self._memory.remember(key, value)

    def recall(self, key: str, default: Any = None) -> Any:
        """What is remembered under ``key``."""
        return self._memory.recall(key, default)

    def _tasked(self, name: str, asked: Any, fields: Mapping[str, Any]) -> Callable[[Step], Coroutine[Any, Any, Step]]:
        """How a step gets a task done."""

        async def perform(step: Step) -> Step:
            task_id = id_from("step", key := self._key(name, step), owner=self._journal.agent_id)
            old = id_from("step", key)  # if it was begun by a version that drew another shard
            task_id = old if await self._board.knows(old) else task_id
            span = self._span(name).traceparent
            given = {"budget": self.budget, "deadline": self.deadline, "traceparent": span, **fields}
            if self.private:
                given["private"] = self.private
            await self._board.submit(asked, id=task_id, owner=self._journal.agent_id, **given)

            async def ended() -> bool:
                return (await self._board.tasks.load(task_id, at_least=NEWEST)).state.status in ENDED

            await self._steps.wait_for(name, wait := f"task/{task_id}", ended)
            return self._steps.done(name, on=wait)

        return perform

    async def _outcome(self, step: Step) -> Outcome:
        return await outcome_of(self._board.bus, (await self._board.tasks.load(_id(step.on))).state)

    async def _value(self, step: Step) -> Any:
        return await read(self._board.bus, step.value)

    async def _mail(self, name: str, to: str, body: Any, offer: HandOff | None = None) -> Step:
        person = await self._hand_offs.person(id_of(to))
        value = await value_of(self._board.bus, encoded(body, f"the message of step {name!r}"), person)
        sent: list[Sent] = []

        def say(agent: AgentState) -> list[Any]:
            events = self._hand_offs.sent(agent, name, id_of(to), value, offer, person)
            sent[:] = [event for event in events if isinstance(event, Sent)]
            return events

        step = _of(await self._journal.wish(say), name)
        for mail in sent:
            self._services.post(self._journal.agent_id, mail)
        return step

    async def _answered(self, name: str, to: str, step: Step) -> Step:
        """The step of a hand-off when it has been answered, or its deadline is over."""
        left = (step.until - now()).total_seconds() if step.until else None
        with self._steps.waiting(name, f"answer/{step.asked}", step.until) as bell:
            try:
                async with asyncio.timeout(left):
                    while not step.done:
                        await bell.wait()
                        bell.clear()
                        step = _of(await self._journal.known(), name)
                        if not step.done:
                            step = _of(await self._journal.newest(), name)
            except TimeoutError:
                said = StepFailure("deadline", f"{to} has not answered until {step.until}")
                self._steps.done(name, failure=said)
                step = _of(await self._journal.newest(), name)  # an answer may have been faster
        return step

    def _span(self, name: str) -> SpanContext:
        return step_span(self._journal.agent_id, self._work, name)

    def _key(self, name: str, step: Step) -> str:
        return step_key(self._journal.agent_id, self.message, name, step.tries)


def _of(agent: AgentState, step: str) -> Step:
    assert agent.work is not None
    return agent.work.steps[step]


def _id(wait: str) -> str:
    return wait.partition("/")[2]


async def _nothing(_step: Step) -> None:
    return None


async def _called(function: Callable[..., Any], arguments: Sequence[Any], timeout_s: float | None) -> Any:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            if iscoroutinefunction(function):
                return await function(*arguments)
            result = await asyncio.to_thread(function, *arguments)
            return await result if isawaitable(result) else result
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"it took longer than {timeout_s:g} s") from None
        raise
