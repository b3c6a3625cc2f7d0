"""The report in words: the result first, what was looked at, what to do."""

from generators.audit_stories import audited
from generators.log_histories import log_of

from callboard.deploy.cli.audit_text import told
from callboard.projections.audit import Options

RECORDS = list(log_of(400, open_tasks=10))


def test_a_clean_log_is_called_clean():
    """And it is said what that means, and what to keep."""
    lines = told(audited(RECORDS)).splitlines()
    assert lines[0] == f"CLEAN: {len(RECORDS):,} messages were checked, and nothing is wrong with them."
    assert sum("well" in line for line in lines) == 8
    assert "  What the log says is what was written at the time, and all of it was done by the rules." in lines


def test_findings_are_told_with_their_place_and_what_to_do():
    """Alterations apart from broken rules."""
    other = [each._replace(data=b"{}") if each.seq > 380 else each for each in RECORDS]
    text = told(audited(other, [], Options()))
    number = sum(each.seq > 380 for each in RECORDS)
    assert text.startswith(f"FINDINGS: {number} signs that the log was altered in {len(RECORDS):,} messages.")
    assert "[altered] message 381: message 381 can't be read" in text
    assert f"… and {number - 10} more of this kind" in text
    assert "→ compare with a copy of the log from before" in text
    assert "rely on nothing from there on" in text
    assert "Head to keep" not in text
