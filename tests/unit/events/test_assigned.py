"""An assignment as it is written today, and as it was before."""

from pathlib import Path

import msgspec
import pytest

from callboard.events.envelope import decode, encode
from callboard.events.placement import Hedged
from callboard.events.task import Assigned
from callboard.events.task_spec import Candidate, Candidates, Decision

GOLDEN = Path(__file__).parent / "golden"


def read(name: str) -> Assigned | Hedged:
    (envelope,) = decode((GOLDEN / name).read_bytes())
    assert isinstance(envelope.event, Assigned | Hedged)
    return envelope.event


def test_an_assignment_from_before_knows_no_prefix():
    """It reads as one whose prompt nobody has kept."""
    event = read("callboard.task.assigned.v1.json")
    assert (event.cached, event.service, event.decision.prefix) == (0, 0, b"")


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("assigned.v1", Candidates(("a",), (5,), (6,), (900_000,), excluded={"b": "no"})),
        ("assigned.v1.prefix", Candidates(("a",), (5,), (6,), (0,), (1024,))),
        ("hedged.v1", Candidates(("b",), (5,), (6,), (0,))),
    ],
)
def test_candidates_that_were_objects_are_columns(name, candidates):
    """Version 1 had an object for each; the rest is read as it was."""
    event = read(f"callboard.task.{name}.json")
    assert event.decision.candidates == candidates
    assert event.decision.policy.endswith("/1")


def test_candidates_are_found_by_name_and_one_by_one():
    """Whoever could do it with what was predicted, the others with the reason."""
    found = Candidates(("a", "b"), (1, 2), (3, 4), (5, 6), (0, 7), {"c": "is draining"})
    first, second, third = (
        Candidate("a", 1, 3, 5),
        Candidate("b", 2, 4, 6, None, 7),
        Candidate("c", 0, 0, 0, "is draining"),
    )
    assert [*found] == [first, second, third]
    assert found.able == (first, second)
    assert [found.of(name) for name in "abcd"] == [first, second, third, None]


def test_golden_bytes_with_a_prefix():
    """Four bytes a mark in base 64; what is cached, of whom, and how long the call should take."""
    (old,) = decode((GOLDEN / "callboard.task.assigned.v1.json").read_bytes())
    candidates = Candidates(("a", "b"), (5, 7), (6, 8), (750_000, 800_000), (1024, 0))
    decision = Decision("balanced/1", "best value", 7, candidates, prefix=bytes(range(1, 13)))
    event = Assigned("a", 1, 2000, decision, cached=1024, service=3_000_000_000)
    data = encode([msgspec.structs.replace(old, event=event)])
    assert data == (GOLDEN / "callboard.task.assigned.v2.prefix.json").read_bytes()
    assert decode(data)[0].event == event
