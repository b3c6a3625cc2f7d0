"""An agent while it is active on this host: it works through its inbox, one message at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from callboard.actors.agents.apart import Apart
from callboard.actors.agents.definition import Definition
from callboard.actors.agents.errors import Refusal, StepError, StepFailed
from callboard.actors.agents.journal import Journal
from callboard.actors.agents.memory import Memory
from callboard.actors.agents.reply import reply_to
from callboard.actors.agents.services import Services
from callboard.actors.agents.steps import Steps
from callboard.actors.agents.turn import Turn
from callboard.actors.agents.values import encoded, failure_of, read, value_of
from callboard.actors.alarms import set_rest
from callboard.actors.discretion import discreet
from callboard.actors.loop import BACKOFF_S, BUS_RETRY_S
from callboard.bus.clock import now
from callboard.bus.entities import NEWEST
from callboard.bus.errors import BusError
from callboard.events.agent import AgentState, Work
from callboard.events.agent_events import (
    NOTHING,
    AgentEvent,
    DeadLettered,
    Finished,
    Remembered,
    Rested,
    StepFailure,
    Stumbled,
    Taken,
    Value,
)
from callboard.events.agent_names import name_of, person_of
from callboard.events.errors import Fenced, Forgotten, InvalidInput
from callboard.events.task import ENDED

REST_S: Final = 10.0
"""So long a handler that only waits is held in memory."""

GRACE_S: Final = 5.0

FINAL: Final = frozenset({"unknown", *ENDED})
"""Failures of steps that another try does not mend: a task that has ended had its own."""

MOST_WAITS: Final = 500
"""Who waits for more at a time is held in memory all along: it must fit a message of the log."""

_log = structlog.get_logger(__name__)


class _End(Struct, frozen=True):
    """How a handler ended: with an answer, and what is to be remembered, or with an ``error``."""

    value: Value = NOTHING
    remembered: tuple[Remembered, ...] = ()
    error: Exception | None = None
    final: bool = False
    """Whether an error is told as the answer, and the message not tried again."""
    hopeless: bool = False
    """Whether the message is set aside without another try."""


class Activation:
    """One agent on this host. ``patience_s`` tells how long to hold it in memory while it only waits, as `REST_S`."""

    def __init__(
        self, services: Services, definition: Definition, agent_id: str, patience_s: Callable[[], float]
    ) -> None:
        self._services = services
        self._bus = services.board.bus
        self._definition = definition
        self._agent_id = agent_id
        self._patience_s = patience_s

    async def work(self) -> bool:
        """Take the next message and work at it until it is done with, or rests; whether there is another.

        Raises:
            Fenced: another host works on it.
            BusError: the log can't be reached, or is full.
        """
        taken: list[Taken] = []

        def take(agent: AgentState) -> list[Taken]:
            taken.clear()
            if (work := agent.next) and self._is_ours(agent, work):
                taken.append(Taken(work.received.message, self._services.host, agent.epoch + 1))
            return taken

        # decided when it is appended, so that it goes together with a message that is just being received
        agent = await self._services.commits.tell(self._agent_id, take)
        if not taken:
            return False
        while agent.epoch == taken[0].epoch and agent.work:
            try:
                after = await self._attempt(agent, agent.work)
            except BusError as error:
                _log.warning("bus trouble, will retry", agent=name_of(self._agent_id), error=str(error))
                await asyncio.sleep(BUS_RETRY_S)
                after = await self._newest()
            if after is None:
                return False
            agent = after
        return agent.next is not None

    def _is_ours(self, agent: AgentState, work: Work) -> bool:
        if agent.work is None:
            return True
        if work.waits:
            return self._services.is_due(self._agent_id)
        return agent.host == self._services.host or not self._services.is_alive(agent.host)

    async def _attempt(self, agent: AgentState, work: Work) -> AgentState | None:
        """Run the handler once, and return the agent's state after it; None when it rests."""
        if work.again:
            await asyncio.sleep(max(0.0, (work.again - now()).total_seconds()))
        journal, changed = self._journal(agent.epoch), asyncio.Event()
        apart = Apart(self._bus, work.steps)
        steps = Steps(journal, work, apart, self._services.bells, changed.set)
        memory = await Memory.of(self._bus, agent.memory, work.received.private)
        turn = Turn(self._services, steps, work, memory)
        handler = asyncio.create_task(self._handled(turn, steps, work, memory))
        resting = asyncio.create_task(self._rested(steps, changed, handler))
        try:
            await asyncio.wait((handler, resting), return_when=asyncio.FIRST_COMPLETED)
            if not handler.done() or handler.cancelled():
                resting.result()
                return None
            end = handler.result()
        finally:
            await _cancelled(handler, resting)
            with suppress(StepError):
                steps.close()
        await journal.settled()
        return await self._ended(self._journal(agent.epoch), work, end)

    async def _handled(self, turn: Turn, steps: Steps, work: Work, memory: Memory) -> _End:
        discreet(turn.private)
        try:
            if turn.deadline and turn.deadline <= now():
                return _End(error=Refusal(f"its deadline was over at {turn.deadline:%F %T}Z"), final=True)
            person = person_of(self._definition.defined, self._agent_id)
            if person != turn.private and person:
                return _End(
                    error=Refusal(f"{turn.agent} is about {person}, and this was not said so: send it again"),
                    final=True,
                )
            try:
                message = self._definition.message(await read(self._bus, work.received.body))
            except (InvalidInput, Forgotten) as error:
                return _End(error=error, final=True)
            answer = await self._definition.handle(turn, message)
            steps.close()
            value = await value_of(self._bus, encoded(answer, "the answer"), work.received.private)
            return _End(value, tuple(await memory.remembered()))
        except (BusError, Fenced):
            raise
        except Refusal as error:
            return _End(error=error, final=True)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return _End(error=StepError("CancelledError: the handler let out what cancelled a task of its own"))
        except Exception as error:  # whatever a handler raises is of this message
            _log.warning("a handler failed", agent=turn.agent, message=turn.message, exc_info=True)
            hopeless = isinstance(error, Forgotten) or (isinstance(error, StepFailed) and error.step in steps.once)
            return _End(error=error, hopeless=hopeless)

    async def _rested(self, steps: Steps, changed: asyncio.Event, handler: asyncio.Task[_End]) -> None:
        """Ends the handler when it has done nothing but wait for a while, and the log says that it rests."""
        while True:
            changed.clear()
            waits = steps.waits
            if waits is None or len(waits) > MOST_WAITS:
                await changed.wait()
                continue
            try:
                async with asyncio.timeout(self._patience_s()):
                    await changed.wait()
            except TimeoutError:
                if timers := [until for until in waits.values() if until]:
                    await set_rest(self._bus, self._agent_id, min(timers))
                agent = await steps.journal.say(Rested(tuple(waits)))
                if agent.work and agent.work.waits and steps.waits == waits:
                    handler.cancel()
                    return
                await changed.wait()  # what it waits for has come

    async def _ended(self, journal: Journal, work: Work, end: _End) -> AgentState:
        """Say how the message ended, and tell whoever waits for it; the state after that."""
        received, error = work.received, end.error
        if error is None or end.final:
            failure = failure_of(error) if error else None
            return await self._finish(journal, work, end.remembered, Finished(received.message, end.value, failure))
        failure, step = failure_of(error), ""
        if isinstance(error, StepFailed):
            failure, step = StepFailure(error.kind, str(error)), error.step
        if work.attempts < len(BACKOFF_S) and failure.kind not in FINAL and not end.hopeless:
            again = now() + timedelta(seconds=BACKOFF_S[work.attempts])
            return await journal.say(Stumbled(received.message, work.attempts + 1, failure, again, step))
        return await self._finish(journal, work, (), DeadLettered(received.message, failure, step))

    async def _finish(
        self, journal: Journal, work: Work, remembered: tuple[Remembered, ...], end: Finished | DeadLettered
    ) -> AgentState:
        received, told = work.received, [end]
        if received.handoff:
            to = received.sender

            def say(agent: AgentState) -> list[AgentEvent]:
                number = agent.mailed.get(to, 0) + 1
                told[:] = [msgspec.structs.replace(end, to=to, number=number, private=received.private)]
                return [*remembered, *told]

            after = await journal.wish(say)
            self._services.post(self._agent_id, told[0])
        else:
            after = await journal.say(*remembered, end)
        await reply_to(self._bus, self._agent_id, received, end)
        return after

    async def _newest(self) -> AgentState:
        return (await self._services.entities.load(self._agent_id, at_least=NEWEST)).state

    def _journal(self, epoch: int) -> Journal:
        return Journal(self._services.entities, self._services.commits, self._agent_id, epoch)


def _is_cancelled() -> bool:
    """Whether somebody cancels the task that runs here, rather than that one which it waits for was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    """End them; one that does not heed it is left to itself, and can say nothing more."""
    for task in tasks:
        task.cancel()
    ended, left = await asyncio.wait(tasks, timeout=GRACE_S)
    for task in ended:
        if not task.cancelled():
            task.exception()  # it has been heard of
    if left:
        _log.error("a handler does not end when it is cancelled", tasks=[task.get_name() for task in left])
