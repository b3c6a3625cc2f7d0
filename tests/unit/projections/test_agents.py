"""Agents at a glance: who has something to do, exactly when the agent's own history says so."""

from datetime import UTC, datetime

from generators.agent_wishes import plans
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.events import approval, task
from callboard.events.agent import AgentState, decide, evolve
from callboard.events.agent_events import (
    DeadLettered,
    Defined,
    Finished,
    Received,
    Requeued,
    Rested,
    StepFailure,
    Taken,
    Value,
)
from callboard.events.envelope import Envelope
from callboard.events.errors import CallboardError
from callboard.events.task_spec import TaskSpec
from callboard.projections.agents import AGENTS, AgentRow, Agents
from callboard.projections.projection import dump, load

MOMENT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TASKS = {
    "task/t-1": [task.Submitted(TaskSpec("", owner="writer")), task.Cancelled("no")],
    "approval/p-1": [approval.Requested("", "h", by="writer"), approval.Denied("h", "ann")],
}


def enveloped(event: object, subject: str = "agent/writer") -> Envelope:
    return Envelope("id", "test", subject, MOMENT, event, 1)


def after(*events: object, state: Agents | None = None) -> Agents:
    state = state or AGENTS.initial()
    for event in events:
        state = AGENTS.apply(state, event if isinstance(event, Envelope) else enveloped(event))
    return state


def is_due(agent: AgentState, open_elsewhere: set[str]) -> bool:
    """Whether there is something to do for an agent, by its own history and what it waits for elsewhere."""
    if agent.work is None:
        return bool(agent.inbox)
    if not agent.work.waits:
        return True
    steps = agent.work.steps
    rang = {f"timer/{name}" for name, step in steps.items() if step.rang}
    answered = {wait for wait in agent.work.waits if wait.startswith("answer/") and wait[7:] not in agent.asked}
    elsewhere = {wait for wait in agent.work.waits if wait in TASKS and wait not in open_elsewhere}
    return bool(elsewhere or answered or rang.intersection(agent.work.waits))


def check(state: Agents, agent: AgentState, open_elsewhere: set[str]) -> None:
    row = state.by_id.get("writer") or AgentRow("writer", MOMENT)
    work = agent.work
    assert row.runnable == is_due(agent, open_elsewhere)
    assert set(state.runnable) == ({"writer"} if row.runnable else set())
    assert (row.work, row.waits) == ((work.received.message, work.waits) if work else ("", ()))
    assert row.rests == bool(row.waits)
    assert (row.waiting, row.dead, row.finished) == (len(agent.inbox), len(agent.dead), agent.finished)
    assert (row.host, row.epoch) == (agent.host, agent.epoch)
    assert state.defined.get("writer") == agent.defined
    assert dict(state.resting) == {wait: "writer" for wait in row.waits if wait in TASKS}
    assert set(state.awaited) == open_elsewhere


@settings(max_examples=100)
@given(plans(), st.fixed_dictionaries(dict.fromkeys(TASKS, st.integers(0, 90))))
def test_an_agent_is_runnable_exactly_when_its_own_history_says_so(wishes, ends):
    """Whatever happens to it, and whenever the task and the approval end that it may wait for."""
    agent, open_elsewhere = AgentState("writer"), set(TASKS)
    state = after(*(enveloped(begun, subject) for subject, (begun, _) in TASKS.items()))
    for place, plan in enumerate(wishes):
        for subject in [subject for subject, end in ends.items() if end == place]:
            state = after(enveloped(TASKS[subject][1], subject), state=state)
            open_elsewhere.discard(subject)
            check(state, agent, open_elsewhere)
        try:
            events = decide(agent, plan(agent))
        except CallboardError:
            continue
        for event in events:
            agent, state = evolve(agent, event), after(event, state=state)
        check(state, agent, open_elsewhere)
    assert load(AGENTS, dump(AGENTS, state, 7)) == (state, 7)


def test_rows_of_several_agents_are_apart():
    """Each has its own, and a definition is none of them."""
    state = after(Received("m", Value(1)), Defined("Writes."))
    state = after(enveloped(Received("n", Value(1)), "agent/writer--2"), state=state)
    state = after(Taken("m", "h1", 1), Finished("m"), state=state)
    assert {row.id: (row.waiting, row.finished) for row in state.by_id.values()} == {
        "writer": (0, 1),
        "writer--2": (1, 0),
    }
    assert dict(state.runnable) == {"writer--2": True}
    assert dict(state.defined) == {"writer": Defined("Writes.")}


def test_a_task_that_ended_before_its_agent_rests_is_no_reason_to_rest():
    """Its end was in the log first; whoever rests for it is to be woken at once."""
    asked, ended = (enveloped(event, "task/t-1") for event in TASKS["task/t-1"])
    working = after(Received("m", Value(1)), Taken("m", "h1", 1), asked)
    resting = after(Rested(("task/t-1",)), state=working)
    assert not resting.runnable
    assert dict(resting.resting) == {"task/t-1": "writer"}
    assert after(ended, state=resting).runnable
    assert after(ended, Rested(("task/t-1",)), state=working).runnable


def test_a_message_that_was_set_aside_is_told_of_until_it_is_tried_again():
    """With why."""
    failed = after(Received("m", Value(1)), Taken("m", "h1", 1), DeadLettered("m", StepFailure("OSError", "no route")))
    row = failed.by_id["writer"]
    assert (row.dead, row.failure, row.runnable) == (1, "no route", False)
    row = after(Requeued("m"), state=failed).by_id["writer"]
    assert (row.dead, row.waiting, row.runnable) == (0, 1, True)
