"""The audit: what is wrong with a log, found by folding it once. Pure; `callboard.actors.auditor` reads the log for it.

`Audit` is the fold; `findings` is what it may find, and what each finding means.
"""

from callboard.projections.audit.audit import ALL, Audit, Options
from callboard.projections.audit.findings import CHECKS, KINDS, Check, Finding, Severity
from callboard.projections.audit.report import Head, Report

__all__ = ["ALL", "CHECKS", "KINDS", "Audit", "Check", "Finding", "Head", "Options", "Report", "Severity"]
