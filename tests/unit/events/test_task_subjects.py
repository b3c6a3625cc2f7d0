"""Which messages a backend's worker asks for."""

from callboard.events import task
from callboard.events.placement import Hedged
from callboard.events.task_spec import Decision
from callboard.events.task_subjects import addressee, work_subject

DECISION = Decision("best/1", "the best", 1, ())


def test_all_that_is_addressed_to_a_backend_is_asked_for_by_one_subject():
    assigned, hedged = task.Assigned("b", 1, 10, DECISION), Hedged("b", 2, 1, 10, DECISION)
    assert addressee(assigned) == addressee(hedged) == ("b",)
    assert work_subject("b", kind="*") == "evt.*.task.*.*.b"
    assert work_subject("b", 3, kind="*") == "evt.*.task.*.*.b.3"
