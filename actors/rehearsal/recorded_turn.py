"""A turn whose steps give what they gave: what models and tools answered then is the oracle. Time goes on as they do.

It ends at the first step that the record can't answer for: one that was never done, or one that now wants something
else done under the same name. What would have come of that nobody knows without doing it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from callboard.actors.agents.memory import Memory
from callboard.actors.agents.services import Services
from callboard.actors.agents.steps import Steps
from callboard.actors.agents.turn import Turn
from callboard.actors.agents.values import read
from callboard.actors.board import submission_of
from callboard.actors.claim_check import fetched, input_of, text_of
from callboard.actors.contexts import VALUE
from callboard.actors.outcome import Outcome
from callboard.actors.rehearsal.record import Recorded
from callboard.bus.clock import now
from callboard.bus.past import PastLog
from callboard.bus.subjects import entity
from callboard.events.agent_names import id_of
from callboard.events.agent_step import Step
from callboard.events.agent_trace import step_key
from callboard.events.approval import Approval, hash_of
from callboard.events.context_events import Changed, Operation, Put, Say
from callboard.events.context_version import context_version

T = TypeVar("T")

ASKED: Final = (
    "system",
    "needs",
    "max_tokens",
    "temperature",
    "seed",
    "stop",
    "schema",
    "tools",
    "max_cost",
    "priority",
    "min_quality",
    "policy",
    "check",
    "backend",
    "tags",
    "budget",
)
"""What of a task says which answer it gets, besides what it reads."""

_SHOWN: Final = 60


class Divergence(msgspec.Struct, frozen=True):
    """The first ``step`` that the record does not answer for, and ``why``."""

    step: str
    why: str


class RecordedSteps(Steps):
    """Steps of which none is done now. ``used`` are those that the record answered for, in order."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.used: list[str] = []
        self.diverged: asyncio.Future[Divergence] = asyncio.get_running_loop().create_future()

    async def get_done(self, name: str, step: Step, perform: Callable[[Step], Awaitable[Step]]) -> Step:
        """It can't be: that is where the ways part."""
        begun = step.runs or step.asked or step.until
        self.part(name, "was begun, and never ended" if begun else "was never taken")
        return await self.diverged_for_good()

    def part(self, name: str, why: str) -> None:
        """The ways part at this step."""
        if not self.diverged.done():
            self.diverged.set_result(Divergence(name, why))

    async def diverged_for_good(self) -> NoReturn:
        """Nothing comes after it."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")


class RecordedTurn(Turn):
    """A message that an agent was done with, as some code works at it now."""

    def __init__(self, services: Services, steps: RecordedSteps, memory: Memory, of: Recorded, log: PastLog) -> None:
        super().__init__(services, steps, of.work, memory)
        self._recorded = of
        self._log = log
        self._by_record = steps

    def part(self, why: str) -> None:
        """The ways part outside of all steps."""
        self._by_record.part("", why)

    def run(self, name: str, function: Callable[..., Any], *arguments: Any, **how: Any) -> Coroutine[Any, Any, Any]:
        """As `Turn.run`: with what it was called the record does not say."""
        return self._same(name, super().run(name, function, *arguments, **how), _unknown)

    def task(self, name: str, input: Any = "", **fields: Any) -> Coroutine[Any, Any, Outcome]:  # noqa: A002
        """As `Turn.task`, if the same is asked."""
        return self._same(name, super().task(name, input, **fields), lambda step: self._task(step, input, fields))

    def model(self, name: str, prompt: Any = "", **fields: Any) -> Coroutine[Any, Any, str]:
        """As `Turn.model`, if the same is asked."""
        return self._same(name, super().model(name, prompt, **fields), lambda step: self._task(step, prompt, fields))

    def approve(self, name: str, action: Any, **how: Any) -> Coroutine[Any, Any, Approval]:
        """As `Turn.approve`, if it is about the same."""

        async def differs(step: Step) -> str:
            asked = (await self._board.approvals.state(step.on.partition("/")[2])).requested
            return "" if asked is None or asked.hash == hash_of(action) else "asks for something else to be approved"

        return self._same(name, super().approve(name, action, **how), differs)

    def send(self, name: str, to: str, body: Any) -> Coroutine[Any, Any, None]:
        """As `Turn.send`, if the same goes to the same."""
        return self._same(name, super().send(name, to, body), lambda _: self._mailed(name, to, body))

    def handoff(self, name: str, to: str, body: Any, **how: Any) -> Coroutine[Any, Any, Any]:
        """As `Turn.handoff`, if the same goes to the same."""
        return self._same(name, super().handoff(name, to, body, **how), lambda _: self._mailed(name, to, body))

    def change(self, name: str, context: str, *operations: Operation) -> Coroutine[Any, Any, int]:
        """As `Turn.change`, if it changes the same."""

        async def differs(step: Step) -> str:
            cause = step_key(self.agent_id, self.message, name, step.tries)
            return await self._changed(context, cause, operations)

        return self._same(name, super().change(name, context, *operations), differs)

    def sleep(self, name: str, seconds: float) -> Coroutine[Any, Any, None]:
        """As `Turn.sleep`, for however long: the time has come."""
        return self._same(name, super().sleep(name, seconds), _unknown)

    def now(self, name: str) -> Coroutine[Any, Any, datetime]:
        """As `Turn.now`: the time that it was then."""
        return self._same(name, super().now(name), _unknown)

    async def _same(self, name: str, step: Coroutine[Any, Any, T], differs: Callable[[Step], Awaitable[str]]) -> T:
        """The step, if it ``differs`` in nothing from the one that was done."""
        known = self._recorded.work.steps.get(name)
        if known is not None and known.done:
            self._log.advance(known.at)  # what it reads is as it was then
            if why := await differs(known):
                step.close()
                self._by_record.part(name, why)
                await self._by_record.diverged_for_good()
            self._by_record.used.append(name)
        return await step

    async def _task(self, step: Step, asked: Any, fields: Mapping[str, Any]) -> str:
        if not step.on:  # it could not even be asked for
            return ""
        given = {"budget": self.budget, "deadline": self.deadline, "private": self.private or None, **fields}
        wanted = submission_of({"input": asked, **given}).spec(now())
        then = (await self._board.tasks.load(step.on.partition("/")[2])).state.spec
        if then is None:
            return "asked for a task that the log no longer has"
        bus = self._board.bus
        if (old := await input_of(bus, then)) != (new := await input_of(bus, wanted)):
            return f"asks {_short(new)}, it asked {_short(old)}"
        if wanted.context and not _reads_same(wanted.context, then.context):
            return f"reads {wanted.context}, it read {then.context}"
        for name in ASKED:
            if (old := getattr(then, name)) != (new := getattr(wanted, name)):
                return f"has another {name}: {_short(new)}, it was {_short(old)}"
        return ""

    async def _mailed(self, name: str, to: str, body: Any) -> str:
        sent = self._recorded.sent.get(name)
        if sent is None:  # it was refused
            return ""
        if sent.to != id_of(to):
            return f"goes to {to}, it went to {sent.to}"
        then = await read(self._board.bus, sent.body)
        return "" if then == _as_json(body) else f"says {_short(body)}, it said {_short(then)}"

    async def _changed(self, context: str, cause: str, wanted: Sequence[Operation]) -> str:
        """In what a change differs from the one that was made for ``cause``; one that changed nothing is none."""
        then: tuple[Operation, ...] = ()
        before = 0
        for record in await self._board.bus.log.read(entity("context", context)):
            for envelope in await self._board.bus.privacy.read(record.data):
                if isinstance(envelope.event, Changed) and envelope.event.cause == cause:
                    then, before = envelope.event.operations, envelope.version - 1
                elif not then:
                    before = envelope.version
        now = await self._board.contexts.would_change(context, before, *wanted)
        if len(now) != len(then):
            return f"makes {len(now)} changes of {context}, it made {len(then)}"
        for old, new in zip(then, now, strict=True):
            if await self._told(old) != await self._told(new):
                return f"changes {context} otherwise: {_short(new)}, it was {_short(old)}"
        return ""

    async def _told(self, operation: Operation) -> Any:
        """An operation with what it puts aside."""
        if isinstance(operation, Say):
            return msgspec.structs.replace(operation, content=await text_of(self._board.bus, operation.content))
        if isinstance(operation, Put) and operation.artifact and operation.artifact.media == VALUE:
            return Put(operation.key, msgspec.json.decode(await fetched(self._board.bus, operation.artifact)))
        return Put(operation.key, _as_json(operation.value)) if isinstance(operation, Put) else operation


async def _unknown(_step: Step) -> str:
    return ""


def _reads_same(wanted: str, then: str | None) -> bool:
    if then is None:
        return False
    context, version = context_version(wanted)
    return (context, version) == context_version(then) or (version is None and then.startswith(f"{context}@"))


def _as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")
