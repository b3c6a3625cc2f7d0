"""What an audit may find: each kind with its weight, what it belongs to, and what to do about it."""

from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

__all__ = ["CHECKS", "KINDS", "Check", "Finding", "Findings", "Kind", "Severity"]


class Severity(StrEnum):
    """How bad a finding is: the record was changed, or what it records is wrong, or it is good to know."""

    ALTERED = "altered"
    BROKEN = "rule broken"
    NOTE = "note"


class Check(StrEnum):
    """What an audit consists of."""

    LOG = "log"
    CHECKPOINTS = "checkpoints"
    CHAINS = "chains"
    LEGALITY = "legality"
    LEDGER = "ledger"
    BUDGETS = "budgets"
    RULES = "rules"
    APPROVALS = "approvals"


CHECKS: Final[dict[Check, str]] = {
    Check.LOG: "Is every message there, once, in order, and the same in the archive as in the stream?",
    Check.CHECKPOINTS: "Is the log what was signed at the time?",
    Check.CHAINS: "Does every entity's history hold together, message by message?",
    Check.LEGALITY: "Could each thing happen after what had happened before?",
    Check.LEDGER: "Was every model call booked once, at the price of its time, and do the sums add up?",
    Check.BUDGETS: "Was money held before it was spent, never more than the limit, and settled at what was paid?",
    Check.RULES: "Did every task go to a backend that may have it?",
    Check.APPROVALS: "Was everything allowed that needed it, and did agents only hear what was said?",
}
"""The question that each check answers."""


class Kind(NamedTuple):
    """A kind of finding; ``mend`` is what to do about it."""

    check: Check
    severity: Severity
    mend: str


_RESTORE: Final = (
    "compare with a copy of the log from before (a backup, the archive), and find out who could write to it"
)
_LOOK: Final = "look at what happened there, and at the version of the code that wrote it"
_A, _B, _N = Severity.ALTERED, Severity.BROKEN, Severity.NOTE

KINDS: Final[dict[str, Kind]] = {
    "missing": Kind(Check.LOG, _A, _RESTORE),
    "split": Kind(Check.LOG, _N, "nothing: audit the other logs as well; budgets are checked from then on"),
    "order": Kind(Check.LOG, _A, _RESTORE),
    "clock": Kind(Check.LOG, _A, "if the server's clock was set back then, that is why; else " + _RESTORE),
    "copies": Kind(Check.LOG, _A, "one of the two was altered: see which one the checkpoints agree with"),
    "archive": Kind(Check.LOG, _A, "restore that file from a backup"),
    "checkpoint": Kind(
        Check.CHECKPOINTS, _A, "see who can write to the stream CHECKPOINTS; heads kept elsewhere count"
    ),
    "key": Kind(Check.CHECKPOINTS, _A, "give the right key by --key; if this is it, checkpoints were replaced"),
    "root": Kind(Check.CHECKPOINTS, _A, _RESTORE),
    "cut": Kind(Check.CHECKPOINTS, _A, _RESTORE),
    "head": Kind(Check.CHECKPOINTS, _A, _RESTORE),
    "uncovered": Kind(Check.CHECKPOINTS, _N, "a running node signs them within minutes"),
    "unsigned": Kind(
        Check.CHECKPOINTS,
        _N,
        "a node with the role notary signs every 10,000 messages, every five minutes, and when it stops",
    ),
    "pinned": Kind(Check.CHECKPOINTS, _N, "give the key you trust by --key"),
    "unreadable": Kind(Check.CHAINS, _A, _RESTORE),
    "subject": Kind(Check.CHAINS, _A, _RESTORE),
    "chain": Kind(Check.CHAINS, _A, _RESTORE),
    "id": Kind(Check.CHAINS, _A, _RESTORE),
    "newer": Kind(Check.CHAINS, _N, "audit it with the newer version"),
    "illegal": Kind(Check.LEGALITY, _B, _LOOK),
    "call": Kind(Check.LEDGER, _B, _LOOK),
    "cost": Kind(Check.LEDGER, _B, "compare with the provider's bill"),
    "sums": Kind(Check.LEDGER, _B, "delete the snapshots; a node makes new ones"),
    "by-hand": Kind(Check.LEDGER, _N, "compare with the provider's bill"),
    "unknown-cost": Kind(Check.LEDGER, _N, "tell their cost by `callboard budget spent`, from the provider's bill"),
    "over-budget": Kind(Check.BUDGETS, _B, _LOOK),
    "unfunded": Kind(Check.BUDGETS, _B, _LOOK),
    "overdrawn": Kind(Check.BUDGETS, _B, _LOOK),
    "after-seal": Kind(Check.BUDGETS, _B, _LOOK),
    "too-small": Kind(Check.BUDGETS, _B, _LOOK),
    "settlement": Kind(Check.BUDGETS, _B, _LOOK),
    "backend": Kind(Check.RULES, _B, _LOOK),
    "draining": Kind(Check.RULES, _B, _LOOK),
    "capability": Kind(Check.RULES, _B, _LOOK),
    "data-policy": Kind(Check.RULES, _B, "find out what the provider has done with this task's text"),
    "pin": Kind(Check.RULES, _B, _LOOK),
    "max-cost": Kind(Check.RULES, _B, _LOOK),
    "decision": Kind(Check.RULES, _B, _LOOK),
    "meanwhile": Kind(Check.RULES, _N, "nothing: a router decides on what it has seen, and says up to where"),
    "unapproved": Kind(Check.APPROVALS, _B, "find out what was done, and whether it has to be undone"),
    "action": Kind(Check.APPROVALS, _B, _LOOK),
    "late": Kind(Check.APPROVALS, _B, _LOOK),
    "unsaid": Kind(Check.APPROVALS, _B, _LOOK),
}


class Finding(Struct, frozen=True, gc=False):
    """One thing that was found.

    ``seq`` is the first message that it may be about; ``told`` is one sentence, ``mend`` what to do.
    """

    kind: str
    severity: Severity
    check: Check
    seq: int
    told: str
    mend: str
    subject: str = ""
    entity: str = ""


MOST: Final = 200
"""Findings of one kind that are listed; more are counted."""


class Findings:
    """What was found so far: all counted, the first of each kind listed.

    While it is ``muted`` nothing is: what is looked at follows from what was told already.
    """

    def __init__(self, only: frozenset[Check]) -> None:
        self._only = only
        self.muted = False
        self.counts: dict[str, int] = {}
        self.found: list[Finding] = []

    def add(self, kind: str, seq: int, told: str, subject: str = "", entity: str = "") -> None:
        """One more, if its check is wanted."""
        check, severity, mend = KINDS[kind]
        if self.muted or check not in self._only:
            return
        number = self.counts[kind] = self.counts.get(kind, 0) + 1
        if number <= MOST:
            self.found.append(Finding(kind, severity, check, seq, told, mend, subject, entity))

    @property
    def altered(self) -> bool:
        """Whether some messages are missing, or not what they were."""
        return any(KINDS[kind].severity is Severity.ALTERED for kind in self.counts)

    @property
    def bad(self) -> int:
        """How many are more than notes."""
        return sum(number for kind, number in self.counts.items() if KINDS[kind].severity is not Severity.NOTE)
