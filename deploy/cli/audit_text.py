"""An audit's report in words, for whoever has to judge it: the result, what was looked at, what to do."""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Final

from callboard.deploy.cli.printing import usd
from callboard.projections.audit import CHECKS, KINDS, Check, Finding, Report, Severity

MOST: Final = 10
"""Findings of one kind that are shown; the rest is in the JSON."""

Style = Callable[..., str]


def told(report: Report, colour: Style = lambda text, **_: text) -> str:
    """The report as lines of text."""
    lines = [colour(_result(report), fg="green" if report.result == "clean" else "red", bold=True), ""]
    lines += _looked_at(report)
    wanted = [check for check in CHECKS if check in report.checks]
    lines += ["", "What was asked, and what was found:"]
    lines += [f"  {_mark(report, check, colour)} {CHECKS[check]}" for check in wanted]
    notes = [finding for finding in report.findings if finding.severity is Severity.NOTE]
    worse = [finding for finding in report.findings if finding.severity is not Severity.NOTE]
    for title, found in (("Findings, by where they begin:", worse), ("Good to know:", notes)):
        if found:
            lines += ["", title]
            lines += _listed(found, report)
    return "\n".join([*lines, "", *_meaning(report)])


def _result(report: Report) -> str:
    checked = report.checked
    if report.result == "clean":
        return f"CLEAN: {checked.messages:,} messages were checked, and nothing is wrong with them."
    altered = sum(number for kind, number in report.counts.items() if KINDS[kind].severity is Severity.ALTERED)
    broken = sum(number for kind, number in report.counts.items() if KINDS[kind].severity is Severity.BROKEN)
    parts = [f"{altered:,} signs that the log was altered"] * bool(altered) + [f"{broken:,} broken rules"] * bool(
        broken
    )
    return f"FINDINGS: {' and '.join(parts)} in {checked.messages:,} messages."


def _looked_at(report: Report) -> Iterator[str]:
    checked = report.checked
    span = f"messages {checked.first:,} to {checked.last:,}"
    yield f"Looked at: {span}, {checked.events:,} events of {checked.entities:,} things"
    if checked.archived:
        yield f"  {checked.archived:,} from the archive, of which {checked.both:,} are in the stream as well"
    yield (
        f"  {checked.calls:,} model calls, {usd(checked.cost)} in all; {checked.running:,} under way, "
        f"{checked.unknown:,} of unknown cost, {checked.by_hand:,} told by hand"
    )
    yield (
        f"  {checked.assignments:,} assignments, {checked.leases:,} leases of budgets, {checked.approvals:,} approvals"
    )
    if checked.checkpoints:
        yield f"  {checked.checkpoints:,} checkpoints: {checked.covered:,} messages are as they were signed"
        trust = "which you trust" if checked.pinned else "which was compared with none that you trust"
        yield from (f"  signed by the key {key}, {trust}" for key in checked.keys)
    if checked.head_of:
        yield f"  compared with a head of {checked.head_of:,} messages that was kept from an earlier audit"


def _mark(report: Report, check: Check, colour: Style) -> str:
    number = sum(
        count
        for kind, count in report.counts.items()
        if KINDS[kind].check is check and KINDS[kind].severity is not Severity.NOTE
    )
    return colour(f"{number:,} wrong", fg="red") if number else colour("well   ", fg="green")


def _listed(found: list[Finding], report: Report) -> Iterator[str]:
    kinds = dict.fromkeys(finding.kind for finding in found)
    for kind, group in groupby(sorted(found, key=lambda each: [*kinds].index(each.kind)), attrgetter("kind")):
        every = list(group)
        for finding in every[:MOST]:
            where = f" ({finding.subject})" if finding.subject else ""
            yield f"  - [{finding.severity}] message {finding.seq:,}: {finding.told}{where}"
        if (more := report.counts[kind] - MOST) > 0:
            yield f"    … and {more:,} more of this kind"
        yield f"    → {every[0].mend}"


def _meaning(report: Report) -> Iterator[str]:
    altered = any(KINDS[kind].severity is Severity.ALTERED for kind in report.counts)
    yield "What it means:"
    if altered:
        yield "  The record is not what was written. Until it is known what was changed, rely on nothing from there on."
    elif report.result != "clean":
        yield "  The record is whole, and says that something was done that should not have been."
    else:
        yield "  What the log says is what was written at the time, and all of it was done by the rules."
    if report.head.root and not altered:
        yield f"  Head to keep elsewhere: {report.head.size} messages, root {report.head.root}"
        yield "  (`callboard audit --json > FILE` keeps it; `callboard audit --since FILE` compares with it.)"
