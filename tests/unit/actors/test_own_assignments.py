"""What a router has assigned and does not see yet."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.router.own_assignments import OwnAssignments
from callboard.events.task import Assigned
from callboard.events.task_spec import Decision
from callboard.projections.load import Work


def assigned(backend: str, tokens: int = 10) -> Assigned:
    return Assigned(backend, 1, tokens, Decision("p", "r", 0), service=3 * tokens)


def test_it_counts_until_it_is_folded():
    """From the decision on; one that was folded at once never lingers."""
    own = OwnAssignments()
    own.add("t", assigned("a"))
    own.add("u", assigned("a", 5))
    assert own.work == {"a": Work(2, 15, 45)}
    own.stored("t", 7, folded=3)
    own.stored("u", 8, folded=8)
    assert own.work == {"a": Work(1, 10, 30)}
    own.folded(7)
    assert own.work == {"a": Work()}


def test_a_new_decision_replaces_the_old_one():
    """When the old one is folded at last, the new one still counts."""
    own = OwnAssignments()
    own.add("t", assigned("a"))
    own.stored("t", 7, folded=3)
    own.add("t", assigned("b"))
    own.folded(7)
    assert own.work == {"a": Work(), "b": Work(1, 10, 30)}


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
        assert all(work.tasks >= 0 and work.tokens >= 0 for work in own.work.values())
    for seq in range(len(steps) + 1):
        own.folded(seq)
    for task_id in "tu":
        own.drop(task_id)
    assert set(own.work.values()) <= {Work()}
