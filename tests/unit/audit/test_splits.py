"""What was split away from a log is told, and nothing else goes missing unnoticed."""

from functools import partial

import pytest
from generators.audit_stories import KEY, OPTIONS, audited
from generators.log_histories import log_of, signed
from msgspec.structs import replace

from callboard.events.away import Away
from callboard.events.errors import Undecodable
from callboard.events.merkle import leaf_hash
from callboard.events.shards import Shards
from callboard.projections.audit import Severity

RECORDS = list(log_of(1500, open_tasks=40))
CHECKPOINTS = signed(iter(RECORDS), KEY, 100)
KEEP = Shards.parse("0-31")
SPLIT = len(RECORDS)


def is_ours(record) -> bool:
    _, _, kind, name, _ = record.subject.split(".")[:5]
    return KEEP.holds(kind, name)


OURS = [each for each in RECORDS if is_ours(each)]
GONE = Away(
    (each.seq, leaf_hash(each.seq, each.time_ns, each.subject, each.data)) for each in RECORDS if not is_ours(each)
)
audited_part = partial(audited, checkpoints=CHECKPOINTS, options=replace(OPTIONS, shards=KEEP, split=SPLIT, away=GONE))


def bad(report) -> dict[str, int]:
    found: dict[str, int] = {}
    for finding in report.findings:
        if finding.severity is Severity.ALTERED:
            found.setdefault(finding.kind, finding.seq)
    return found


def test_split():
    """All that is left is as it was signed, and so is, by its hashes, what is not."""
    report = audited_part(OURS)
    assert len(GONE) > 300
    assert bad(report) == {}
    [told] = [finding.told for finding in report.findings if finding.kind == "split"]
    assert told == f"{len(GONE)} messages of other shards than 0-31, which this log holds, were split away at {SPLIT:,}"
    assert report.checked.messages + len(GONE) == report.checked.covered == len(RECORDS)
    assert report.head == audited(RECORDS, CHECKPOINTS).head


def test_split_and_archived():
    """The archive has what was split away: it counts as it is, and is judged no further."""
    report = audited_part(RECORDS)
    assert bad(report) == {}
    assert report.counts["split"] == 1
    assert report.checked.covered == len(RECORDS)


@pytest.mark.parametrize("place", [0, 200, len(OURS) - 200])
def test_what_is_missing_beside(place):
    lost = OURS[place]
    report = audited_part([each for each in OURS if each is not lost])
    assert bad(report)["missing"] == lost.seq
    assert [f.told for f in report.findings if f.kind == "missing"] == [f"message {lost.seq} is missing"]


def test_what_was_altered_before_the_split():
    other = [replaced(each) if each is OURS[100] else each for each in OURS]
    assert "root" in bad(audited_part(other))


def replaced(record):
    return record._replace(time_ns=record.time_ns + 1)


def test_it_is_kept_as_bytes():
    again = Away.load(GONE.dump())
    assert [again.leaf(seq) for seq in range(1, SPLIT + 1)] == [GONE.leaf(seq) for seq in range(1, SPLIT + 1)]
    assert (again.end, len(again), again.over(again.end), again.over(0)) == (GONE.end, len(GONE), 0, len(GONE))
    assert again.next(1) == GONE.next(1)
    assert again.next(SPLIT + 1) is None
    assert len(Away.load(GONE.dump(), Away([(1400, bytes(32))]).dump())) == len(GONE) + 1
    with pytest.raises(Undecodable):
        Away.load(b"x" * 41)
