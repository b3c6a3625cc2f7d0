"""Wishes of an agent: few senders, steps and messages, so that they meet; most of them may be granted, not all."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from callboard.events.agent import AgentState
from callboard.events.agent_events import (
    AgentEvent,
    Answered,
    Began,
    DeadLettered,
    Defined,
    Finished,
    HandOff,
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

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)
FAILURE = StepFailure("OSError", "no route to host")
SENDERS = ("ann", "bob")
STEPS = ("a", "b", "c")
ELSEWHERE = ("task/t-1", "approval/p-1")

Plan = Callable[[AgentState], AgentEvent]
"""A wish that depends on how far an agent is."""


def plans(number: int = 60) -> st.SearchStrategy[list[Plan]]:
    """What actors wish of an agent, one after another; about so many, since a life begins slowly."""
    step = _step()
    return st.lists(st.one_of(_mail(), step, step, step, _message()), min_size=number // 2, max_size=number * 3 // 2)


def waits_of(agent: AgentState) -> tuple[str, ...]:
    """All that a message may be waiting for."""
    steps = agent.work.steps.items() if agent.work else ()
    timers = [f"timer/{name}" for name, step in steps if step.until]
    return *timers, *(f"answer/{step.asked}" for _, step in steps if step.asked)


def _mail() -> st.SearchStrategy[Plan]:
    """From other agents, mostly in order, and from elsewhere."""

    def made(kind: str, sender: str, off: int, key: str | None) -> Plan:
        def plan(agent: AgentState) -> AgentEvent:
            number = agent.heard.get(sender, 0) + off
            match kind:
                case "received":
                    return Received(f"{sender}-{number}", Value(number), sender, number)
                case "submitted":
                    return Received(f"client-{agent.arrived}", Value(1), key=key)
            asked = [*agent.asked, "m-nobody"]
            return (Answered if off else Late)(asked[0], sender, number, Value("yes"))

        return plan

    kinds = st.sampled_from(("received", "received", "submitted", "answered"))
    keys = st.sampled_from((None, "k1", "k2"))
    return st.builds(made, kinds, st.sampled_from(SENDERS), st.sampled_from((0, 1, 1, 1, 2)), keys)


def _step() -> st.SearchStrategy[Plan]:
    def made(kind: str, step: str, off: int) -> Plan:
        def plan(agent: AgentState) -> AgentEvent:
            known = agent.work.steps.get(step) if agent.work else None
            match kind:
                case "began":
                    return Began(step, (known.runs if known else 0) + off)
                case "stepped":
                    return Stepped(step, Value(off), FAILURE if off == 2 else None)
                case "paused":
                    return Paused(step, MOMENT + timedelta(seconds=off))
                case "rang":
                    return Rang(step)
            number = agent.mailed.get("carl", 0) + 1
            handoff = HandOff() if off else None
            return Sent(step, "carl", number, f"m-{number}", Value(1), handoff=handoff)

        return plan

    kinds = st.sampled_from(("began", "began", "stepped", "stepped", "paused", "rang", "sent"))
    return st.builds(made, kinds, st.sampled_from(STEPS), st.sampled_from((0, 1, 1, 2)))


def _message() -> st.SearchStrategy[Plan]:
    def made(kind: str, step: str, off: int) -> Plan:
        def plan(agent: AgentState) -> AgentEvent:
            known = agent.next or next(iter(agent.dead.values()), None)
            message = known.received.message if known else "m-none"
            end: dict[str, Any] = {"to": "carl", "number": agent.mailed.get("carl", 0) + 1} if off == 2 else {}
            match kind:
                case "defined":
                    return Defined(f"the {off}th")
                case "taken":
                    return Taken(message, f"h{off}", agent.epoch + off)
                case "rested":
                    return Rested((ELSEWHERE[:1], waits_of(agent), (*waits_of(agent), *ELSEWHERE))[off])
                case "remembered":
                    return Remembered(step, Value(1) if off else None)
                case "finished":
                    return Finished(message, Value("done"), **end)
                case "stumbled":
                    attempt = (known.attempts if known else 0) + off
                    return Stumbled(message, attempt, FAILURE, MOMENT, step if off else "")
                case "dead":
                    return DeadLettered(message, FAILURE, step if off else "", **end)
            return Requeued(next(iter(agent.dead), "m-none"))

        return plan

    often = ("taken", "taken", "taken", "taken", "rested", "rested", "stumbled", "dead")
    kinds = st.sampled_from((*often, "defined", "remembered", "finished", "stumbled", "dead", "requeued"))
    return st.builds(made, kinds, st.sampled_from(STEPS), st.sampled_from((0, 1, 1, 1, 2)))
