"""An assignment as it is written since prefixes are recorded, and as it was before."""

from pathlib import Path

import msgspec

from callboard.events.envelope import decode, encode
from callboard.events.task import Assigned
from callboard.events.task_spec import Candidate, Decision

GOLDEN = Path(__file__).parent / "golden"


def test_an_assignment_from_before_knows_no_prefix():
    """It reads as one whose prompt nobody has kept."""
    (envelope,) = decode((GOLDEN / "callboard.task.assigned.v1.json").read_bytes())
    assert isinstance(envelope.event, Assigned)
    assert (envelope.event.cached, envelope.event.service, envelope.event.decision.prefix) == (0, 0, b"")


def test_golden_bytes_with_a_prefix():
    """Four bytes a mark in base 64; what is cached, of whom, and how long the call should take."""
    (old,) = decode((GOLDEN / "callboard.task.assigned.v1.json").read_bytes())
    decision = Decision("balanced/1", "best value", 7, (Candidate("a", 5, 6, cached=1024),), prefix=bytes(range(1, 13)))
    event = Assigned("a", 1, 2000, decision, cached=1024, service=3_000_000_000)
    data = encode([msgspec.structs.replace(old, event=event)])
    assert data == (GOLDEN / "callboard.task.assigned.v1.prefix.json").read_bytes()
    assert decode(data)[0].event == event
