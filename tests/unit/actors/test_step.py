"""The router's next step, as a pure function: any cascade and any advice lead to one end."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callboard.actors.checks import BUILT_IN, Check
from callboard.actors.router.asking import Heard
from callboard.actors.router.cascade import CascadeRules
from callboard.actors.router.policies.registry import policies
from callboard.actors.router.route import Rules, View
from callboard.actors.router.step import Ask, step
from callboard.events import task
from callboard.events.advice import Advised
from callboard.events.backend import Backend, BackendSpec
from callboard.events.cascade import Answered, Declined
from callboard.events.chat import Usage
from callboard.events.money import Price
from callboard.events.task import ENDED, PERFECT, Status, Task
from callboard.events.task_spec import Failure, TaskSpec

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NAMES = ("a", "b", "c", "d")
ACCEPT = 700_000
RULES = Rules(policies(), cascade=CascadeRules(BUILT_IN | {"mine": Check(ACCEPT)}, escalations=2), max_attempts=3)

worlds = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.integers(0, 50_000_000), st.sampled_from(["small", "medium", "frontier"])),
    min_size=1,
).map(
    lambda found: {
        name: Backend(name, BackendSpec("openai", "m", tier=tier), Price(price, price))
        for name, (price, tier) in found.items()
    }
)
outcomes = st.lists(
    st.one_of(
        st.tuples(st.just("score"), st.integers(0, PERFECT)),
        st.tuples(st.just("fails"), st.sampled_from(["timeout", "invalid"])),
    ),
    min_size=20,
    max_size=20,
)
hearings = st.lists(
    st.one_of(
        st.just(None),
        st.just("late"),
        st.just("no JSON"),
        st.integers(-1, 12).map(lambda mark: json.dumps({"why": "w", "mark": mark})),
        st.sampled_from(NAMES).map(lambda name: json.dumps({"why": "w", "backend": name})),
    ),
    min_size=20,
    max_size=20,
)


class Play:
    """One task from its submission to its end: the router's steps, and workers and questions as drawn."""

    def __init__(self, spec: TaskSpec, world: dict, outcomes: list, hearings: list) -> None:
        self.state = Task("t")
        self.history: list = []
        self.now = NOW
        self.asked = 0
        self._view = View(world, {}, {}, 0)
        self._outcomes, self._hearings = iter(outcomes), iter(hearings)
        self.tell(task.Submitted(spec))
        heard = None
        for _ in range(80):
            if self.state.status in ENDED:
                return
            if self.state.status in {Status.ASSIGNED, Status.STARTED}:
                self.work()
                continue
            wanted = step(self.state, self._view, RULES, self.now, 1, heard)
            assert wanted == step(self.state, self._view, RULES, self.now, 1, heard), "the same again gives the same"
            heard = None
            if isinstance(wanted, Ask):
                self.asked += 1
                self.tell(replace(wanted.parked, asks=f"q{self.asked}"))
                heard = self.hear()
            elif wanted:
                self.tell(*wanted)
                self.wake()
            else:
                self.now = self.state.asking.until
        raise AssertionError(f"no end: {self.history}")

    def tell(self, *wishes) -> None:
        for wish in wishes:
            for event in task.decide(self.state, wish):
                self.state = task.evolve(self.state, event)
                self.history.append(event)

    def wake(self) -> None:
        if self.state.status is Status.PARKED and not self.state.asking and self.state.parked.until:
            self.now = self.state.parked.until

    def work(self) -> None:
        number, backend = self.state.call + 1, self.state.backend
        self.tell(task.Started(backend, number, "w"))
        kind, what = next(self._outcomes)
        if kind == "fails":
            self.tell(task.Failed(backend, number, Failure(what, "x"), cost=number))
            return
        done = (backend, number, "out", Usage(1, 1), 10 * number, "m")
        if self.state.check == "judge":
            self.tell(Answered(*done))
        elif self.state.check and what < ACCEPT:
            self.tell(Answered(*done), Declined(backend, number, what))
        else:
            self.tell(task.Completed(*done))

    def hear(self) -> Heard | None:
        said = next(self._hearings)
        self.now += timedelta(seconds=1)
        if said is None:
            return None
        status = Status.EXPIRED if said == "late" else Status.COMPLETED
        return Heard(f"q{self.asked}", status, said, cost=5)


def adds_up(play: Play) -> None:
    ends = [event for event in play.history if isinstance(event, task.Completed | task.DeadLettered | task.Rejected)]
    assert len(ends) == 1
    booked = [e for e in play.history if isinstance(e, Answered | task.Failed | task.Spent) or _books(e)]
    assert len({event.call for event in booked}) == len(booked) == play.state.call
    assert play.state.cost == sum(event.cost for event in booked)


def _books(event: object) -> bool:
    return isinstance(event, task.Completed) and not event.booked


@given(worlds, outcomes, hearings, st.sampled_from(["mine", "judge"]), st.none() | st.integers(0, 20_000))
def test_every_cascade_ends_once_with_its_best_answer(world, outcomes, hearings, check, max_cost):
    """Whatever fails, is declined, or can't be judged; no backend's answer is asked for again once it was declined."""
    play = Play(TaskSpec("x", policy="cascade", check=check, max_cost=max_cost), world, outcomes, hearings)
    adds_up(play)
    declined = [event for event in play.history if isinstance(event, Declined)]
    assert len(declined) <= RULES.cascade.escalations + 1
    assert len({event.backend for event in declined}) == len(declined)
    assigned = [event for event in play.history if isinstance(event, task.Assigned)]
    assert all(event.check == check for event in assigned)
    if play.state.completed is None:
        assert not declined, "an answer in hand is used in the end"
    elif play.state.completed.call in {event.call for event in declined}:
        best = max(event.score for event in declined)
        assert next(e.score for e in declined if e.call == play.state.completed.call) == best
        assert play.state.scores["cascade"] == best
    for event in assigned:
        chosen = next(c for c in event.decision.candidates if c.backend == event.backend)
        before = [d.score for d in declined if play.history.index(d) < play.history.index(event)]
        assert chosen.quality > max(before, default=-1)


@given(worlds, outcomes, hearings)
def test_advice_is_asked_once_and_followed_if_it_can_be(world, outcomes, hearings):
    """What is no advice leaves the choice to the fallback; the reason is recorded either way."""
    play = Play(TaskSpec("x", policy="agent"), world, outcomes, hearings)
    adds_up(play)
    advised = [event for event in play.history if isinstance(event, Advised)]
    assert len(advised) == play.asked == (len(world) > 1)
    first = next(event for event in play.history if isinstance(event, task.Assigned))
    if advised and advised[0].backend:
        assert (first.backend, first.decision.reason) == (advised[0].backend, "advised: w")
    elif advised:
        assert first.decision.reason.startswith("no advice: ")
