"""One trial of the fuzz: something is altered, and the audit has to find it, at that place or before it."""

import shutil
from functools import partial
from pathlib import Path
from random import Random

from msgspec.structs import replace

from callboard.bus.archive.examined import examined
from callboard.projections.audit import Audit, Options, Report, Severity
from generators.audit_stories import OPTIONS, audited
from generators.tampering import ARCHIVED, CHECKPOINTS, OF_RECORDS, RECORDS, alter_archive

HEAD = audited(RECORDS, CHECKPOINTS).head
KEPT = replace(OPTIONS, heads=(HEAD,))
"""What an auditor has: the public key, and a head of an earlier audit."""


def try_records(random: Random) -> str | None:
    """Alter records or checkpoints; what was done if it was not found, else None."""
    alteration = random.choice(OF_RECORDS)
    copy = alteration(random)
    if (copy.records, copy.checkpoints) == (RECORDS, CHECKPOINTS):
        return None  # two that were the same changed places
    missed = _missed(audited(copy.records, copy.checkpoints, KEPT), copy.place)
    return f"{alteration.__name__} at {copy.place}: {missed}" if missed else None


def try_archive(random: Random, folder: Path, copy: Path) -> str | None:
    """Alter a copy of the archive; the same."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    what, place = alter_archive(random, copy)
    missed = _missed(audited_with(copy, KEPT), place)
    return f"archive, {what}, at {place}: {missed}" if missed else None


def audited_with(folder: Path, options: Options) -> Report:
    """The report on the archive in ``folder``, and a stream that holds only what is newer."""
    fold = Audit(options, CHECKPOINTS)
    damaged = partial(fold.findings.add, "archive")
    for batch in (*examined(folder, damaged), RECORDS[ARCHIVED:]):
        for seq, subject, data, time_ns, _ in batch:
            fold.take(seq, time_ns, subject, data)
    return fold.finish()


def _missed(report: Report, place: int) -> str:
    found = [finding for finding in report.findings if finding.severity is Severity.ALTERED]
    if report.result == "clean" or not found:
        return "not found"
    first = min(finding.seq for finding in found)
    return "" if first <= place else f"found only at {first}"
