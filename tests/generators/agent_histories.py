"""What may happen to an agent, few names and values, so that they meet; drawn as numbers, told as fits its state."""

from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import strategies as st

from callboard.events.agent import AgentState, decide, evolve
from callboard.events.agent_events import (
    AgentEvent,
    Answered,
    Began,
    DeadLettered,
    Finished,
    HandOff,
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
from callboard.events.errors import CallboardError

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAILURE = StepFailure("ValueError", "no")
VALUES = (None, "short", "long " * 20, {"a": [1, None, "x" * 50]}, [7])
Drawn = tuple[int, int, int]

BEGINNING: list[Drawn] = [(0, 0, 1), (2, 0, 0)]
"""A message is received and taken."""

KINDS = [0, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, 8, 8, 9, 9, 10, 11, 12]

messages: st.SearchStrategy[list[Drawn]] = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, len(VALUES) - 1)), min_size=1, max_size=4
)
"""The events of one message."""


def wish(drawn: list[Drawn]) -> Callable[[AgentState], list[AgentEvent]]:
    """What the drawn say of an agent's state; what may not be said is left out."""

    def say(agent: AgentState) -> list[AgentEvent]:
        said: list[AgentEvent] = []
        for one in drawn:
            try:
                events = decide(agent, _event(agent, *one))
            except CallboardError:
                continue
            for event in events:
                agent = evolve(agent, event)
                said.append(event)
        return said

    return say


def _event(agent: AgentState, kind: int, place: int, value: int) -> AgentEvent:
    step, kept = f"s{place}", Value(VALUES[value])
    work = agent.work.received.message if agent.work else ""
    number = agent.mailed.get("1-b", 0) + 1
    asked = next(iter(agent.asked), "")
    heard = agent.heard.get("2-c", 0) + 1
    match kind:
        case 0:
            return Received(f"m{agent.arrived}", kept, by="x", key=f"k{agent.arrived}" if place else None)
        case 1:
            return Received(f"m{agent.arrived}", kept, sender="2-c", number=heard, handoff=HandOff())
        case 2:
            message = agent.next.received.message if agent.next else ""
            return Taken(message, f"h{place}", agent.epoch + 1)
        case 3:
            return Began(step, 1)
        case 4:
            return Paused(step, AT) if place else Rang("s1")
        case 5:
            return Stepped(step, kept)
        case 6:
            return Stepped(step, failure=FAILURE)
        case 7:
            return Sent(step, "1-b", number, f"to-b-{number}", kept, handoff=HandOff() if place else None)
        case 8:
            return Answered(asked, "2-c", heard, kept)
        case 9:
            return Stumbled(work, 1, FAILURE, AT, step) if place else Rested((f"answer/{asked}",))
        case 10:
            return Remembered(step, kept)
        case 11:
            return DeadLettered(work, FAILURE, step) if place else Finished(work, kept)
        case _:
            return Requeued(next(iter(agent.dead), ""))
