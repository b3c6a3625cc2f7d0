"""What a router has assigned and does not see yet."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.own_assignments import OwnAssignments
from callboard.events.task import Assigned
from callboard.events.task_spec import Decision
from callboard.projections.load import Work


def assigned(backend: str, tokens: int = 10, priority: int = 0) -> Assigned:
    return Assigned(backend, 1, tokens, Decision("p", "r", 0), priority, service=3 * tokens)


def test_it_counts_until_it_is_folded():
    """From the decision on; one that was folded at once never lingers."""
    own = OwnAssignments()
    own.add("t", assigned("a"))
    own.add("u", assigned("a", 5))
    assert own.work() == {"a": Work(2, 15, 45)}
    own.stored("t", 7, folded=3)
    own.stored("u", 8, folded=8)
    assert own.work() == {"a": Work(1, 10, 30)}
    own.folded(7)
    assert own.work() == {}


def test_urgent_work_goes_before_what_is_not():
    """Of what is less urgent only the number counts."""
    own = OwnAssignments()
    own.add("t", assigned("a", 10))
    own.add("u", assigned("a", 5, priority=3))
    own.add("v", assigned("b", 7))
    assert own.work(3) == {"a": Work(2, 5, 15), "b": Work(1)}


def test_a_new_decision_replaces_the_old_one():
    """When the old one is folded at last, the new one still counts."""
    own = OwnAssignments()
    own.add("t", assigned("a"))
    own.stored("t", 7, folded=3)
    own.add("t", assigned("b"))
    own.folded(7)
    assert own.work() == {"b": Work(1, 10, 30)}


@given(st.lists(st.tuples(st.sampled_from("tu"), st.sampled_from("ab"), st.integers(0, 2)), max_size=40))
def test_nothing_is_left_in_the_end(steps):
    """Whatever is decided again, dropped or stored: when all is folded, all is 0."""
    own = OwnAssignments()
    for seq, (task_id, backend, what) in enumerate(steps, 1):
        own.add(task_id, assigned(backend, seq))
        if what == 1:
            own.drop(task_id)
        if what == 2:
            own.stored(task_id, seq, folded=seq - 3)
        assert sum(work.tasks for work in own.work().values()) == len(own) <= 2
    for seq in range(len(steps) + 1):
        own.folded(seq)
    for task_id in "tu":
        own.drop(task_id)
    assert not own.work()
