"""An agent: who works through messages, one at a time. What may happen to it, and its state.

The rules, kept by `decide`:

- Whoever takes a message works in an epoch of its own, one more than the last. What an earlier one still wants to say
  of the agent is refused by `in_epoch`.
- A step is known by its name, once in a message. It begins as often as need be, and ends once.
- Agents number what they send each other. Each number is received once, in order; who waits for an answer gets one.
- An answer that nobody waits for any more is recorded as late, and changes nothing.
- Of a message that is done with nothing is kept but what the agent remembers. One that is set aside keeps its steps,
  and is still given the answers that it waited for.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, assert_never

import msgspec
from msgspec import Struct

from callboard.events.agent_events import (
    AgentEvent,
    Answered,
    Began,
    DeadLettered,
    Defined,
    Finished,
    Late,
    Paused,
    Rang,
    Received,
    Remembered,
    Requeued,
    Rested,
    Sent,
    StepFailure,
    Stepped,
    Stumbled,
    Taken,
    Value,
)
from callboard.events.agent_names import name_of
from callboard.events.agent_step import UNKNOWN, Place, Step, after_step
from callboard.events.errors import Early, Fenced, IllegalTransition, InvalidInput
from callboard.events.persistent import Map

MOST_WAITING: Final = 100_000
"""Messages in an inbox, beyond which none is taken in but from agents, who are not told."""

KEYS_KEPT: Final = 10_000
"""So many messages later a key may be used anew."""


class Work(Struct, frozen=True, gc=False, omit_defaults=True):
    """A message, and what has been done for it.

    It was tried ``attempts`` times in vain, and is tried ``again`` then. While it rests, ``waits`` is all that is left
    of it to wait for. ``failure`` is why it failed last, or was set aside.
    """

    received: Received
    steps: Map[Step] = Map()
    attempts: int = 0
    again: datetime | None = None
    waits: tuple[str, ...] = ()
    failure: StepFailure | None = None


class Asked(Struct, frozen=True, gc=False):
    """Who waits for an answer: the ``step`` of the work at the message ``work``."""

    work: str
    step: str


class AgentState(Struct, frozen=True, gc=False, omit_defaults=True):
    """An agent's state: what it works at, what waits for that in the ``inbox``, by number, and what was set aside.

    ``mailed`` and ``heard`` are how many messages went to and came from each other agent, ``asked`` are those that are
    to be answered. ``keys`` are those of messages from elsewhere, with the number of each, and ``keyed`` is the other
    way round. ``defined`` is of those that give a definition its name.
    """

    id: str
    defined: Defined | None = None
    epoch: int = 0
    host: str = ""
    work: Work | None = None
    inbox: Map[Work] = Map()
    arrived: int = 0
    taken: int = 0
    memory: Map[Value] = Map()
    mailed: Map[int] = Map()
    heard: Map[int] = Map()
    asked: Map[Asked] = Map()
    keys: Map[str] = Map()
    keyed: Map[str] = Map()
    dead: Map[Work] = Map()
    finished: int = 0

    @property
    def next(self) -> Work | None:
        """What is to be worked at: what has been begun, else the first in the inbox."""
        return self.work or self.inbox.get(str(self.taken + 1))


def is_elsewhere(wait: str) -> bool:
    """Whether what is waited for, as ``task/ID``, is told of by others' events than the agent's own."""
    return wait.startswith(("task/", "approval/"))


def in_epoch(epoch: int, say: Callable[[AgentState], Sequence[AgentEvent]]) -> Callable[[AgentState], list[AgentEvent]]:
    """What ``say`` says of the agent's state, as long as nobody else has taken it over. Raises Fenced then."""

    def wish(agent: AgentState) -> list[AgentEvent]:
        if agent.epoch != epoch:
            raise Fenced(
                f"agent {name_of(agent.id)}: {agent.host} has taken over (epoch {agent.epoch}, ours is {epoch})"
            )
        return [*say(agent)]

    return wish


def decide(agent: AgentState, wish: AgentEvent) -> list[AgentEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said already.

    Raises:
        Fenced: it is about a message that another works at, or that is over.
        Early: a message from an agent that has sent another before.
        IllegalTransition: there is no such message to try again.
        InvalidInput: the inbox is full.
    """
    match wish:
        case Defined():
            return [wish] if agent.defined != wish else []
        case Received():
            return [wish] if _is_new(agent, wish) else []
        case Answered() | Late():
            return _answered(agent, wish)
        case Taken():
            return _taken(agent, wish)
        case Remembered():
            return [wish] if agent.memory.get(wish.key) != wish.value else []
        case Rang():
            step = agent.work.steps.get(wish.step) if agent.work else None
            return [wish] if step and step.until and not (step.done or step.rang) else []
        case Requeued():
            if wish.message not in agent.dead:
                raise IllegalTransition(
                    f"agent {name_of(agent.id)} has set no message {wish.message!r} aside: see `callboard agents`"
                )
            return [wish]
        case Began() | Paused() | Sent() | Stepped():
            return _of_step(agent, wish)
        case Rested():
            return [wish] if _can_rest(_work(agent), wish) else []
        case Finished() | Stumbled() | DeadLettered():
            if (work := _work(agent)).received.message != wish.message:
                raise Fenced(f"agent {name_of(agent.id)} does not work at message {wish.message}")
            return [] if isinstance(wish, Stumbled) and work.attempts >= wish.attempt else [wish]
        case _:
            assert_never(wish)


def evolve(agent: AgentState, event: AgentEvent, place: Place = UNKNOWN) -> AgentState:
    """The state after ``event``; total, since what is in the log has happened."""
    replace = msgspec.structs.replace
    match event:
        case Defined():
            return replace(agent, defined=event)
        case Received():
            return _enqueued(_heard(agent, event), Work(event))
        case Answered():
            return _after_answer(_heard(agent, event), event, place)
        case Late():
            return _heard(agent, event)
        case Taken():
            return _after_taken(agent, event)
        case Remembered():
            memory, value = agent.memory, event.value
            kept = memory.discard(event.key) if value is None else memory.insert(event.key, value)
            return replace(agent, memory=kept)
        case Requeued():
            work = agent.dead.get(event.message)
            after = replace(agent, dead=agent.dead.discard(event.message))
            return _enqueued(after, replace(work, attempts=0, failure=None)) if work else after
        case Finished():
            asked = _without_asked(agent, event.message)
            done = replace(agent, work=None, finished=agent.finished + 1, asked=asked)
            return _mailed(done, event.to, event.number)
        case DeadLettered():
            return _set_aside(_mailed(agent, event.to, event.number), event)
        case Sent():
            return _with_work(_mailed(agent, event.to, event.number), event, place)
        case Began() | Stepped() | Paused() | Rang() | Rested() | Stumbled():
            return _with_work(agent, event, place)
        case _:
            assert_never(event)


def _is_new(agent: AgentState, wish: Received) -> bool:
    if wish.sender:
        return _is_next(agent, wish)
    if wish.key is not None and wish.key in agent.keys:
        return False
    if len(agent.inbox) >= MOST_WAITING:
        raise InvalidInput(f"the inbox of agent {name_of(agent.id)} is full ({MOST_WAITING:,} messages): send it later")
    return True


def _is_next(agent: AgentState, mail: Received | Answered | Late) -> bool:
    """Whether it is the next that its sender has for this agent; False if it is an earlier one."""
    heard = agent.heard.get(mail.sender, 0)
    if mail.number > heard + 1:
        raise Early(
            f"agent {name_of(agent.id)} has heard {heard} messages of {name_of(mail.sender)}, not the {mail.number}th"
        )
    return mail.number == heard + 1


def _answered(agent: AgentState, wish: Answered | Late) -> list[AgentEvent]:
    if not _is_next(agent, wish):
        return []
    asked = agent.asked.get(wish.message)
    work = _work_at(agent, asked.work) if asked else None
    step = work.steps.get(asked.step) if asked and work else None
    awaited = step is not None and not step.done and step.asked == wish.message
    kind = Answered if awaited else Late
    return [kind(wish.message, wish.sender, wish.number, wish.value, wish.failure, wish.private)]


def _taken(agent: AgentState, wish: Taken) -> list[AgentEvent]:
    work = agent.next
    if wish.epoch != agent.epoch + 1 or work is None or work.received.message != wish.message:
        raise Fenced(f"agent {name_of(agent.id)}: {agent.host or 'another'} was faster (epoch {agent.epoch})")
    return [wish]


def _work(agent: AgentState) -> Work:
    if agent.work is None:
        raise Fenced(f"agent {name_of(agent.id)} works at no message")
    return agent.work


def _of_step(agent: AgentState, wish: Began | Paused | Sent | Stepped) -> list[AgentEvent]:
    step = _work(agent).steps.get(wish.step, Step())
    match wish:
        case Began():
            known = step.runs >= wish.run
        case Paused():
            known = step.until is not None
        case Sent():
            known = bool(step.asked)
        case Stepped():
            known = False
    return [] if step.done or known else [wish]


def _can_rest(work: Work, wish: Rested) -> bool:
    """Unless it does, or waits for nothing, or something that it waits for has come meanwhile."""
    if wish.waits in {(), work.waits}:
        return False
    waiting = {name: step for name, step in work.steps.items() if not step.done}
    timers = {f"timer/{name}" for name, step in waiting.items() if step.until and not step.rang}
    answers = {f"answer/{step.asked}" for step in waiting.values() if step.asked}
    return all(wait in timers or wait in answers or is_elsewhere(wait) for wait in wish.waits)


def _heard(agent: AgentState, event: Received | Answered | Late) -> AgentState:
    if event.sender:
        return msgspec.structs.replace(agent, heard=agent.heard.insert(event.sender, event.number))
    if isinstance(event, Received) and event.key is not None:
        number, oldest = str(agent.arrived + 1), str(agent.arrived + 1 - KEYS_KEPT)
        keys, keyed = agent.keys.insert(event.key, number), agent.keyed.insert(number, event.key)
        if (old := keyed.get(oldest)) is not None:
            keys, keyed = keys.discard(old), keyed.discard(oldest)
        return msgspec.structs.replace(agent, keys=keys, keyed=keyed)
    return agent


def _mailed(agent: AgentState, to: str, number: int) -> AgentState:
    return msgspec.structs.replace(agent, mailed=agent.mailed.insert(to, number)) if to else agent


def _enqueued(agent: AgentState, work: Work) -> AgentState:
    arrived = agent.arrived + 1
    return msgspec.structs.replace(agent, arrived=arrived, inbox=agent.inbox.insert(str(arrived), work))


def _after_taken(agent: AgentState, event: Taken) -> AgentState:
    replace = msgspec.structs.replace
    after = replace(agent, epoch=event.epoch, host=event.host)
    if agent.work:
        return replace(after, work=replace(agent.work, waits=()))
    first = agent.taken + 1
    return replace(after, work=agent.next, taken=first, inbox=agent.inbox.discard(str(first)))


def _after_answer(agent: AgentState, event: Answered, place: Place) -> AgentState:
    asked = agent.asked.get(event.message)
    work = _work_at(agent, asked.work) if asked else None
    if asked is None or work is None:
        return agent
    replace = msgspec.structs.replace
    step = after_step(work.steps.get(asked.step, Step()), event, place)
    answered = replace(agent, asked=agent.asked.discard(event.message))
    return _with(answered, replace(work, steps=work.steps.insert(asked.step, step)))


def _work_at(agent: AgentState, message: str) -> Work | None:
    """The work at a message: begun, set aside, or waiting to be tried again."""
    if agent.work and _is_at(agent.work, message):
        return agent.work
    return agent.dead.get(message) or next((each for each in agent.inbox.values() if _is_at(each, message)), None)


def _with(agent: AgentState, work: Work) -> AgentState:
    """With what is known of the work at a message replaced, wherever that is."""
    replace, message = msgspec.structs.replace, work.received.message
    if agent.work and _is_at(agent.work, message):
        return replace(agent, work=work)
    if message in agent.dead:
        return replace(agent, dead=agent.dead.insert(message, work))
    number = next(number for number, each in agent.inbox.items() if _is_at(each, message))
    return replace(agent, inbox=agent.inbox.insert(number, work))


def _is_at(work: Work, message: str) -> bool:
    return work.received.message == message


def _without_asked(agent: AgentState, message: str) -> Map[Asked]:
    """What is asked, but for a message that is done with."""
    left = agent.asked
    for number, asked in agent.asked.items():
        if asked.work == message:
            left = left.discard(number)
    return left


def _with_work(
    agent: AgentState, event: Began | Stepped | Paused | Rang | Sent | Rested | Stumbled, place: Place
) -> AgentState:
    """The state after what changes the message that is worked at."""
    work, replace = agent.work, msgspec.structs.replace
    if work is None:
        return agent
    match event:
        case Rested():
            return replace(agent, work=replace(work, waits=event.waits))
        case Stumbled():
            tried = _without(work, event.step)
            again = replace(tried, attempts=event.attempt, again=event.again, waits=(), failure=event.failure)
            return replace(agent, work=again)
    step = after_step(work.steps.get(event.step, Step()), event, place)
    if isinstance(event, Sent) and event.handoff:
        asked = Asked(work.received.message, event.step)
        agent = replace(agent, asked=agent.asked.insert(event.message, asked))
    waits = work.waits if isinstance(event, Rang) else ()  # a step that goes on does not rest
    return replace(agent, work=replace(work, steps=work.steps.insert(event.step, step), waits=waits))


def _set_aside(agent: AgentState, event: DeadLettered) -> AgentState:
    replace = msgspec.structs.replace
    if agent.work is None:
        return agent
    work = replace(_without(agent.work, event.step), failure=event.failure, again=None, waits=())
    return replace(agent, work=None, dead=agent.dead.insert(event.message, work))


def _without(work: Work, failed: str) -> Work:
    """Without the outcome of a step that failed, so that it is tried again."""
    if (step := work.steps.get(failed)) is None:
        return work
    return msgspec.structs.replace(work, steps=work.steps.insert(failed, Step(step.runs, step.tries + 1)))
