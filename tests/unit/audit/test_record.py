"""Whether the record is what was written: one log for each way to alter it."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from generators.audit_stories import KEY, OPTIONS, audited
from generators.log_histories import log_of, signed
from msgspec.structs import replace

from callboard.events.envelope import decode, encode
from callboard.projections.audit import KINDS, Check, Head, Options, Severity


@pytest.fixture(scope="module")
def records():
    """A log of tasks with everything that happens to them."""
    return list(log_of(1500, open_tasks=40))


@pytest.fixture(scope="module")
def checkpoints(records):
    return signed(iter(records), KEY, 100)


def kinds(report) -> dict[str, int]:
    """The first place of each kind that is no note."""
    found: dict[str, int] = {}
    for finding in report.findings:
        if finding.severity is not Severity.NOTE:
            found.setdefault(finding.kind, finding.seq)
    return found


def test_a_busy_log_is_clean(records, checkpoints):
    """And it is told how much was looked at."""
    report = audited(records, checkpoints)
    assert (report.result, kinds(report)) == ("clean", {})
    checked = report.checked
    assert checked.messages == checked.covered == checked.last == len(records)
    assert checked.calls > 300
    assert checked.leases > 1
    assert checked.cost > 0
    assert report.head.size == len(records)


def test_missing(records, checkpoints):
    """A message that was taken out."""
    report = audited(records[:700] + records[701:], checkpoints)
    assert kinds(report)["missing"] == 701
    assert kinds(report)["root"] == 701


def test_order(records, checkpoints):
    """A message twice, and two that changed places."""
    assert kinds(audited(records[:700] + records[699:], checkpoints)) == {"order": 700}
    swapped = [*records[:700], records[701], records[700], *records[702:]]
    assert {"missing", "order"} <= kinds(audited(swapped, checkpoints)).keys()


def test_clock(records, checkpoints):
    """A time before that of the message before it."""
    other = [each._replace(time_ns=each.time_ns - 10**10) if each.seq == 700 else each for each in records]
    assert kinds(audited(other, checkpoints)) == {"clock": 700, "root": 601}


def test_root(records, checkpoints):
    """A time altered so that nothing else shows it: named between two checkpoints; what comes after is checked."""
    other = [each._replace(time_ns=each.time_ns + 1) if each.seq == 700 else each for each in records]
    report = audited(other, checkpoints)
    assert kinds(report) == {"root": 601}
    assert report.checked.covered == len(records) - 100


def test_cut(records, checkpoints):
    """The end of the log is gone."""
    assert kinds(audited(records[:1450], checkpoints)) == {"cut": 1401}
    assert kinds(audited(records[:1400], checkpoints)) == {"cut": 1401}


def test_head(records, checkpoints):
    """With an earlier head, the end of the log is missed although its checkpoints are gone as well."""
    head = audited(records, checkpoints).head
    assert kinds(audited(records, checkpoints, replace(OPTIONS, heads=(head,)))) == {}
    earlier = audited(records[:1234], checkpoints[:12]).head
    assert kinds(audited(records, checkpoints, replace(OPTIONS, heads=(earlier,)))) == {}
    cut = audited(records[:1200], checkpoints[:12], replace(OPTIONS, heads=(head,)))
    assert kinds(cut) == {"head": 1201, "cut": 1201}
    another = list(log_of(1500, seed=2, open_tasks=40))
    assert "head" in kinds(audited(another, None, replace(OPTIONS, heads=(Head(1000, head.root),))))


def test_checkpoint(records, checkpoints):
    """One that was altered, one that is gone, two that changed places."""
    altered = [*checkpoints[:5], (6, checkpoints[5][1].replace(b'"size":600', b'"size":601')), *checkpoints[6:]]
    assert kinds(audited(records, altered)) == {"checkpoint": 501}
    assert kinds(audited(records, checkpoints[:5] + checkpoints[6:])) == {"checkpoint": 501}
    renumbered = [(number, data) for number, (_, data) in enumerate(checkpoints[:5] + checkpoints[6:], 1)]
    assert kinds(audited(records, renumbered)) == {"checkpoint": 501}


def test_key(records):
    """Checkpoints by another key than the one that is trusted."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    found = audited(records, signed(iter(records), other, 100))
    assert kinds(found) == {"key": 1}
    assert found.checked.covered == 0


def test_pinned(records, checkpoints):
    """Without a key to compare with, that is said."""
    assert audited(records, checkpoints, Options()).counts["pinned"] == 1


def test_uncovered(records, checkpoints):
    """What is not signed yet is counted."""
    report = audited(records, checkpoints[:14])
    assert (report.result, report.counts["uncovered"]) == ("clean", 1)


def test_unsigned(records):
    """Nothing is signed at all."""
    assert audited(records, []).counts["unsigned"] == 1


def test_unreadable(records):
    """What is no event breaks its entity, not the audit."""
    other = [each._replace(data=b"{}") if each.seq == 700 else each for each in records]
    assert kinds(audited(other, [])) == {"unreadable": 700}


def test_subject(records):
    """A message on another subject than its events'."""
    for change in ("evt.99.", "evt.x."):
        other = [
            each._replace(subject=change + each.subject.split(".", 2)[2]) if each.seq == 700 else each
            for each in records
        ]
        assert kinds(audited(other, [])) == {"subject": 700}


def test_chain(records):
    """An event that was altered shows at its entity's next one; its last one, by checkpoints alone."""
    first = next(each for each in records[300:] if ".submitted." in each.subject)
    data = first.data.replace(b"Portugal", b"Portugol", 1)
    other = [each._replace(data=data) if each.seq == first.seq else each for each in records]
    assert kinds(audited(other, [])) == {"chain": first.seq}


def test_id(story):
    """An event id that its entity had before."""
    story.submit()
    story.tell(story.assigned())
    (envelope,) = decode(story.records[-1].data)
    twice = replace(envelope, id=decode(story.records[-2].data)[0].id)
    story.records[-1] = story.records[-1]._replace(data=encode([twice]))
    assert story.wrong() == {"id": [story.end]}


def test_newer(story):
    """An event that only a newer version knows makes its entity one that can't be judged."""
    story.submit()
    data = story.records[-1].data.replace(b"callboard.task.submitted.v1", b"callboard.task.submitted.v9")
    story.records[-1] = story.records[-1]._replace(data=data)
    story.submit(name="2f-other")
    assert story.wrong() == {}
    assert story.report().counts["newer"] == 1


def test_only_what_is_asked_is_checked(records):
    """The rest is left alone."""
    other = [each._replace(data=b"{}") if each.seq == 700 else each for each in records]
    report = audited(other, [], Options(only=frozenset({Check.LOG})))
    assert report.result == "clean"
    assert report.checks == ("log",)


def test_every_kind_has_a_test_of_its_name():
    """Who adds a rule shows a log that breaks it."""
    here = Path(__file__).parent
    texts = "".join(path.read_text() for path in (*here.glob("test_*.py"),))
    tests = " ".join(re.findall(r"def test_(\w+)", texts))
    assert [kind for kind in KINDS if not re.search(rf"\b{kind.replace('-', '_')}", tests)] == []
