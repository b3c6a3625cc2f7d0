"""What may happen to an agent: steps end once, messages come once and in order, and nobody speaks for another."""

from dataclasses import dataclass, field

import msgspec
import pytest
from generators.agent_wishes import FAILURE, MOMENT, plans, waits_of
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.events import agent as rules
from callboard.events.agent import AgentState, Step, decide, evolve, in_epoch
from callboard.events.agent_events import (
    AgentEvent,
    Answered,
    Began,
    DeadLettered,
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
    addressee,
    headline,
)
from callboard.events.errors import Early, Fenced, IllegalTransition, InvalidInput

GIVEN_OTHERS = Received("m", Value("go"))


def after(agent: AgentState, *wishes: AgentEvent) -> AgentState:
    for wish in wishes:
        for event in decide(agent, wish):
            agent = evolve(agent, event)
    return agent


def at_work(*wishes: AgentEvent) -> AgentState:
    """An agent that works at message ``m``."""
    return after(AgentState("writer"), GIVEN_OTHERS, Taken("m", "h1", 1), *wishes)


@dataclass
class Life:
    """An agent's events, each with the state before and after it."""

    agent: AgentState = field(default_factory=lambda: AgentState("writer"))
    events: list[tuple[AgentState, AgentEvent, AgentState]] = field(default_factory=list)

    def live(self, wishes) -> "Life":
        for plan in wishes:
            try:
                decided = decide(self.agent, plan(self.agent))
            except (Early, Fenced, IllegalTransition, InvalidInput):
                continue  # refused, so it changes nothing
            for event in decided:
                before, self.agent = self.agent, evolve(self.agent, event)
                self.events.append((before, event, self.agent))
        return self


lives = plans().map(lambda wishes: Life().live(wishes))
some = settings(max_examples=50)
"""Each life is long, and takes a while."""


@some
@given(lives)
def test_a_step_ends_once_in_a_try(life):
    """What it gave stays, until it is tried again because it has failed or its answer would come too late."""
    for before, event, now in life.events:
        if before.work is None or now.work is None or isinstance(event, Stumbled):
            continue
        for name, step in before.work.steps.items():
            assert not step.done or now.work.steps[name] == step
            assert now.work.steps[name].runs >= step.runs


@some
@given(lives)
def test_mail_is_received_once_and_in_order(life):
    """From each sender the first, the second and so on, whatever was brought when and how often."""
    heard: dict[str, list[int]] = {}
    for _, event, _ in life.events:
        if isinstance(event, Received | Answered | Late) and event.sender:
            heard.setdefault(event.sender, []).append(event.number)
    for sender, numbers in heard.items():
        assert numbers == [*range(1, len(numbers) + 1)]
        assert life.agent.heard[sender] == len(numbers)
        gap = Received("x", Value(1), sender, len(numbers) + 2)
        with pytest.raises(Early, match=f"has heard {len(numbers)} messages of {sender}"):
            decide(life.agent, gap)


@some
@given(lives)
def test_epochs_only_grow_and_an_old_one_is_fenced(life):
    """Each taking is one more; what somebody says in an epoch that is over is refused, whatever it is."""
    taken = [event.epoch for _, event, _ in life.events if isinstance(event, Taken)]
    assert taken == [*range(1, len(taken) + 1)]
    assert life.agent.epoch == len(taken)
    say = [Began("a", 99)]
    assert in_epoch(life.agent.epoch, lambda _: say)(life.agent) == say
    for epoch in {life.agent.epoch - 1, life.agent.epoch + 1}:
        with pytest.raises(Fenced, match=f"has taken over .epoch {life.agent.epoch}, ours is {epoch}"):
            in_epoch(epoch, lambda _: say)(life.agent)


@some
@given(lives)
def test_a_late_answer_changes_nothing_but_that_it_was_heard(life):
    """It is in the log, and that is all."""
    for before, event, now in life.events:
        if isinstance(event, Late):
            assert now == msgspec.structs.replace(before, heard=before.heard.insert(event.sender, event.number))


@some
@given(lives)
def test_no_message_is_lost_or_doubled(life):
    """Each that was received waits, is worked at, was set aside, or is done with."""
    agent = life.agent
    received = sum(isinstance(event, Received) for _, event, _ in life.events)
    assert received == len(agent.inbox) + (agent.work is not None) + len(agent.dead) + agent.finished
    assert sorted(map(int, agent.inbox)) == [*range(agent.taken + 1, agent.arrived + 1)]


@some
@given(lives)
def test_what_has_been_said_is_not_said_again(life):
    """An event that is repeated says nothing, or is refused: a message without a key or a sender is a new one."""
    for before, event, now in life.events:
        if isinstance(event, Received) and not (event.sender or event.key):
            continue
        try:
            again = decide(now, event)
        except (Fenced, IllegalTransition):
            again = []
        assert again == []
        assert before != now or isinstance(event, Remembered)


@some
@given(lives, plans(5))
def test_a_state_is_the_fold_of_the_events_alone(life, more):
    """Deciding changes nothing: the state is that of whoever reads the log."""
    folded = AgentState("writer")
    for _, event, _ in life.events:
        folded = evolve(folded, event)
    assert folded == life.agent
    Life(life.agent).live(more)
    assert folded == life.agent


@some
@given(lives, plans(20))
def test_a_message_that_was_set_aside_keeps_what_it_has_done(life, more):
    """Only the step that failed is tried again."""
    for before, event, now in Life(life.agent).live(more).events:
        if not isinstance(event, DeadLettered):
            continue
        steps, kept = before.work.steps, now.dead[event.message]
        assert kept.failure == event.failure
        assert (kept.waits, kept.again) == ((), None)
        for name, step in steps.items():
            assert kept.steps[name] == (Step(step.runs, step.tries + 1) if name == event.step else step)
        requeued = after(now, Requeued(event.message))
        assert requeued.inbox[str(requeued.arrived)].steps == kept.steps
        assert event.message not in requeued.dead


def test_an_answer_that_comes_while_its_message_is_set_aside_is_kept_for_it():
    """Whoever tries it again goes on with the answer, and asks nobody twice; also if it waits in the inbox again."""
    asked = Sent("ask", "clerk", 1, "m-1", Value(1), handoff=HandOff())
    dead = at_work(Began("a"), Stepped("a", Value(1)), asked, DeadLettered("m", FAILURE, ""))
    answered = Answered("m-1", "clerk", 1, Value("yes"))
    for set_aside in (dead, after(dead, Requeued("m"))):
        assert decide(set_aside, answered) == [answered]
    for lived in ((answered, Requeued("m")), (Requeued("m"), answered)):
        again = after(dead, *lived, Taken("m", "h1", 2))
        assert again.work.steps["a"].value == Value(1)
        assert (again.work.steps["ask"].done, again.work.steps["ask"].value) == (True, Value("yes"))
        assert not again.asked


@pytest.mark.parametrize("come", [Rang("night"), Answered("m-1", "clerk", 1)], ids=["a timer", "an answer"])
def test_nobody_rests_when_something_has_come(come):
    """It would not be woken again."""
    asked = Sent("ask", "clerk", 1, "m-1", Value(1), handoff=HandOff())
    waiting = at_work(Paused("night", MOMENT), asked)
    rest = Rested(waits_of(waiting))
    assert rest.waits == ("timer/night", "answer/m-1")
    assert decide(waiting, rest) == [rest]
    assert decide(after(waiting, come), rest) == []
    assert after(waiting, rest, come).work.waits == rest.waits  # it is woken by its projection


def test_who_goes_on_does_not_rest():
    """A step that goes on, a failure, a new epoch: each ends the rest; a later message has none to begin with."""
    rested = at_work(Paused("night", MOMENT), Rested(("timer/night",)))
    goes_on = (Began("a"), Stepped("night"), Paused("b", MOMENT), Sent("c", "clerk", 1, "m-1", Value(1)))
    for event in (*goes_on, Stumbled("m", 1, FAILURE, MOMENT), Taken("m", "h2", 2)):
        assert after(rested, event).work.waits == ()
    again = after(rested, DeadLettered("m", FAILURE), Requeued("m"), Taken("m", "h1", 2))
    assert again.work.waits == ()


def test_a_step_that_failed_is_tried_again_under_a_new_number():
    """Its runs are counted on; so whatever is asked of others then has a name of its own."""
    failed = at_work(Began("a"), Stepped("a", failure=FAILURE), Began("b"), Stepped("b", Value(2)))
    again = after(failed, Stumbled("m", 1, FAILURE, MOMENT, "a"))
    assert again.work.steps["a"] == Step(runs=1, tries=1)
    assert again.work.steps["b"].value == Value(2)
    assert (again.work.attempts, again.work.again) == (1, MOMENT)
    assert decide(again, Began("a", 1)) == []
    assert decide(again, Began("a", 2)) == [Began("a", 2)]


def test_only_what_is_worked_at_can_end():
    """Who has lost it is told so."""
    idle = after(at_work(), Finished("m"))
    for event in (Finished("m"), Stumbled("m", 1, FAILURE, MOMENT), Rested(("task/t",)), Began("a")):
        with pytest.raises(Fenced, match="agent writer works at no message"):
            decide(idle, event)
    with pytest.raises(Fenced, match="agent writer does not work at message other"):
        decide(at_work(), Finished("other"))
    with pytest.raises(IllegalTransition, match="agent writer has set no message 'm' aside"):
        decide(idle, Requeued("m"))


def test_a_message_with_a_key_comes_once(monkeypatch):
    """Even when it is done with; a full inbox takes in no more but from agents, and still knows what it has."""
    first = Received("m-1", Value(1), key="k")
    done = after(AgentState("writer"), first, Taken("m-1", "h", 1), Finished("m-1"))
    assert decide(done, Received("m-2", Value(2), key="k")) == []
    monkeypatch.setattr(rules, "MOST_WAITING", 1)
    full = after(done, GIVEN_OTHERS)
    with pytest.raises(InvalidInput, match=r"the inbox of agent writer is full .1 messages.: send it later"):
        decide(full, GIVEN_OTHERS)
    assert decide(full, Received("m-2", Value(2), key="k")) == []
    mail = Received("m-3", Value(3), "ann", 1)
    assert decide(full, mail) == [mail]


def test_an_agent_forgets_what_it_is_told_to():
    """What is remembered is there for all messages to come."""
    knows = after(AgentState("writer"), Remembered("tone", Value("dry")))
    assert knows.memory["tone"] == Value("dry")
    assert "tone" not in after(knows, Remembered("tone")).memory


@given(st.permutations([Began("a"), Stepped("b"), Sent("c", "2f-clerk", 1, "m", Value(1)), Remembered("d")]))
def test_the_event_that_others_wait_for_names_the_message(events):
    """Mail is found by whom it goes to; an end by its type, so that who waits for it finds it."""
    mail = next(event for event in events if isinstance(event, Sent))
    assert headline(events) is mail
    assert addressee(mail) == ("47", "2f-clerk")
    assert addressee(Finished("m")) == ()
    end = DeadLettered("m", StepFailure("unknown", "?"))
    assert headline([*(event for event in events if event is not mail), end]) is end
