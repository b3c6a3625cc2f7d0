"""What an audit says in the end."""

from msgspec import Struct

from callboard.projections.audit.findings import Finding


class Head(Struct, frozen=True, gc=False, omit_defaults=True):
    """The log's head: how many messages, their Merkle root, and the hash of the newest checkpoint, in hex."""

    size: int
    root: str
    checkpoint: str = ""


class Checked(Struct, frozen=True, gc=False):
    """How much was looked at; money in micro-dollars. ``calls`` are model calls that were told the end of.

    ``covered`` messages are as signed, ``archived`` came from the archive, ``both`` were in archive and stream.
    """

    messages: int = 0
    events: int = 0
    entities: int = 0
    first: int = 0
    last: int = 0
    archived: int = 0
    both: int = 0
    checkpoints: int = 0
    covered: int = 0
    calls: int = 0
    cost: int = 0
    running: int = 0
    unknown: int = 0
    by_hand: int = 0
    assignments: int = 0
    leases: int = 0
    approvals: int = 0
    keys: tuple[str, ...] = ()
    pinned: bool = False
    head_of: int = 0


class Report(Struct, frozen=True, gc=False):
    """The result: ``clean`` or ``findings``; ``counts`` by kind are of all findings, ``findings`` lists the first.

    ``head`` is what a later audit is given by ``--since``.
    """

    result: str
    checked: Checked
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    head: Head
    checks: tuple[str, ...] = ()
