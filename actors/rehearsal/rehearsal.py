"""Rehearsals: messages that agents were done with, handled again by some code, with the record as the oracle."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from callboard.actors.agents.apart import Apart
from callboard.actors.agents.bells import Bells
from callboard.actors.agents.conversation import is_hand_off
from callboard.actors.agents.definition import Definition
from callboard.actors.agents.errors import StepFailed
from callboard.actors.agents.journal import Journal
from callboard.actors.agents.memory import Memory
from callboard.actors.agents.services import Services
from callboard.actors.agents.values import encoded, failure_of, value_of
from callboard.actors.agents.values import read as read_value
from callboard.actors.board import Board
from callboard.actors.commits import Commits
from callboard.actors.rehearsal.guard import guarded
from callboard.actors.rehearsal.record import Recorded
from callboard.actors.rehearsal.recorded_turn import Divergence, RecordedSteps, RecordedTurn
from callboard.actors.turns import Turns
from callboard.bus.entities import AGENT, TASK, Entities
from callboard.bus.errors import ReadOnly
from callboard.bus.log import Bus
from callboard.bus.past import PastBus
from callboard.events.agent_events import NOTHING, DeadLettered, Defined, Finished, StepFailure, Value
from callboard.events.agent_names import definition_of
from callboard.events.chat import Tool
from callboard.events.errors import Forgotten
from callboard.events.task import Task

End: TypeAlias = Literal["same", "other", "diverged"]
"""How a lane ends: as it did, with another answer or memory, or where the record does not answer any more."""

LONGEST_S: Final = 30.0
"""So long a handler may take, which waits for nothing."""

_GRACE_S: Final = 1.0
_SOURCE: Final = "rehearsal"


class Lane(Struct, frozen=True):
    """What some code does with a message.

    ``used`` are the steps that the record answered for, in order, ``unused`` those that the code no longer takes.
    ``cost`` is what the model calls of the used ones cost then, in micro-dollars. ``answer`` is there unless the ways
    parted: at ``divergence``, if that is set.
    """

    end: End
    used: tuple[str, ...]
    unused: tuple[str, ...]
    cost: int = 0
    answer: Any = None
    failure: StepFailure | None = None
    divergence: Divergence | None = None


async def rehearse(bus: Bus, definition: Definition, message: Recorded, known: Mapping[str, Defined]) -> Lane:
    """Handle a message again as ``definition`` would. ``known`` are the definitions that there were.

    Nothing is changed and nobody called, whatever the code tries: it runs on the past, under guard.

    Raises:
        NotFound: something that was put aside is gone.
        BusError: the log can't be reached.
    """
    past = PastBus(bus, message.first)
    memory = await Memory.of(past, message.memory, message.work.received.private)
    done = sorted((step.at, step.number, name) for name, step in message.work.steps.items() if step.done)
    try:
        body = await read_value(past, message.work.received.body)
    except Forgotten as error:
        return Lane("diverged", (), tuple(name for *_, name in done), divergence=Divergence("", _gone(error)))
    offered = await _offered(bus, message, known)
    turn, steps = _turn(past, message, memory, known)
    with guarded() as wanted:
        handling = asyncio.create_task(_handled(definition.rehearsed(offered), turn, body))
    until: set[asyncio.Future[Any]] = {handling, steps.diverged}
    await asyncio.wait(until, timeout=LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
    if not handling.done() and not steps.diverged.done():
        steps.part("", f"it takes longer than {LONGEST_S:.0f} s outside of all steps")
    handling.cancel()
    await asyncio.wait({handling}, timeout=_GRACE_S)
    if wanted:
        steps.part("", f"it wants to touch the world outside of a step: {wanted[0]}")
    cost = await cost_of(bus, message, steps.used)
    unused = tuple(name for *_, name in done if name not in steps.used)
    if steps.diverged.done():
        return Lane("diverged", tuple(steps.used), unused, cost, divergence=steps.diverged.result())
    end = handling.result()
    remembered = {} if end.failure else {each.key: each.value for each in await memory.remembered()}
    same = _is_end(end, message.end) and remembered == message.remembered
    answer = await read_value(past, end.value)
    return Lane("same" if same else "other", tuple(steps.used), unused, cost, answer, end.failure)


async def cost_of(bus: Bus, message: Recorded, steps: Iterable[str]) -> int:
    """What the model calls of these steps cost, in micro-dollars."""
    waits = [message.work.steps[name].on for name in steps]
    return sum([(await _task(bus, wait)).cost for wait in waits if wait.startswith("task/")])


def _turn(
    past: PastBus, message: Recorded, memory: Memory, known: Mapping[str, Defined]
) -> tuple[RecordedTurn, RecordedSteps]:
    board, entities = Board(past, _SOURCE), Entities(past.log, AGENT, _SOURCE)
    commits, bells = Commits(entities, Turns(past.signals, AGENT.kind)), Bells()
    services = Services(_SOURCE, board, entities, commits, bells, lambda: known, _never, _never, lambda *_: None)
    journal = Journal(entities, commits, message.agent, 0)
    apart = Apart(past, message.work.steps)
    steps = RecordedSteps(journal, message.work, apart, bells, lambda: None)
    return RecordedTurn(services, steps, memory, message, past.past), steps


class _End(Struct, frozen=True):
    value: Value = NOTHING
    failure: StepFailure | None = None


async def _handled(definition: Definition, turn: RecordedTurn, body: Any) -> _End:
    """How the handler ends."""
    try:
        answer = await definition.handle(turn, definition.message(body))
        return _End(await value_of(turn.bus, encoded(answer, "the answer"), turn.private))
    except ReadOnly as error:
        turn.part(str(error))
        return _End()
    except Forgotten as error:
        turn.part(_gone(error))
        return _End()
    except StepFailed as error:
        return _End(failure=StepFailure(error.kind, str(error)))
    except Exception as error:  # whatever a handler raises is how it ends
        return _End(failure=failure_of(error))
    finally:
        await definition.aclose()


def _is_end(end: _End, then: Finished | DeadLettered) -> bool:
    """Whether it ended so. Why it failed may be told in other words."""
    if end.failure or then.failure:
        return bool(end.failure and then.failure and end.failure.kind == then.failure.kind)
    return isinstance(then, Finished) and end.value == then.value


async def _offered(bus: Bus, message: Recorded, known: Mapping[str, Defined]) -> tuple[Tool, ...]:
    """What the agent's MCP servers offered then, as its first model call tells: what is no function, nor a hand-off."""
    functions = known.get(definition_of(message.agent), Defined()).tools
    for step in message.work.steps.values():
        if step.on.startswith("task/"):
            spec = (await _task(bus, step.on)).spec
            tools = spec.tools if spec else ()
            return tuple(tool for tool in tools if tool.name not in functions and not is_hand_off(tool.name))
    return ()


async def _task(bus: Bus, wait: str) -> Task:
    return (await Entities(bus.log, TASK, _SOURCE, privacy=bus.privacy).load(wait.partition("/")[2])).state


def _gone(error: Forgotten) -> str:
    return f"{error.person} has been forgotten: the record can't be read any more"


def _never(_: str) -> bool:
    return False
