"""The log as a whole: every message there, once and in order, and as it was signed.

The messages between two checkpoints are checked on their own: from the peaks of the first they must lead to the
second. So an alteration is narrowed down to what lies between two checkpoints, and what comes after is still checked.
"""

from collections.abc import Sequence

from callboard.events.away import Away
from callboard.events.checkpoint import Checkpoint, checkpoint_hash, decode_checkpoint
from callboard.events.errors import Undecodable
from callboard.events.merkle import Tree, leaf_hash
from callboard.projections.audit.findings import Findings
from callboard.projections.audit.report import Head


class LogCheck:
    """The fold. ``checkpoints`` are the stored ones, as (sequence, bytes); ``keys`` those that are trusted, in hex.

    Messages that were split ``away`` count by their hashes.
    """

    def __init__(
        self,
        findings: Findings,
        checkpoints: Sequence[tuple[int, bytes]],
        keys: frozenset[str],
        heads: Sequence[Head],
        away: Away,
    ) -> None:
        self._findings = findings
        self._away = away
        self.tree = Tree()
        self.first = 0
        self.messages = 0
        self.covered = 0
        self.away = 0
        self.keys: dict[str, int] = {}
        self.newest: Checkpoint | None = None
        self.last_hash = ""
        self._whole = True
        self._begin = 0
        self._time_ns = 0
        self._heads = sorted(heads, key=lambda head: head.size)
        hashes = {checkpoint_hash(data) for _, data in checkpoints}
        self._due = self._read(checkpoints, keys)[::-1]
        self.checkpoints = len(checkpoints)
        for head in self._heads:
            if head.checkpoint and head.checkpoint not in hashes:
                self._findings.add(
                    "head",
                    self.newest.size + 1 if self.newest else 1,
                    f"a checkpoint that was there with the head that was kept, of {head.size:,} messages, is gone",
                    "CHECKPOINTS",
                )

    def take(self, seq: int, time_ns: int, subject: str, data: bytes) -> None:
        """The next message."""
        expected = self.tree.size + 1
        self.messages += 1
        if seq != expected:
            if seq < expected:
                told = f"message {seq} comes after message {expected - 1}: it is there twice, or out of order"
                self._findings.add("order", seq, told, subject)
                return
            self._pass_over(seq, subject)
        if time_ns < self._time_ns:
            self._findings.add(
                "clock", seq, f"message {seq} was stored before message {seq - 1}, by the times that they bear", subject
            )
        self._time_ns = time_ns
        self._grow(leaf_hash(seq, time_ns, subject, data))

    def finish(self) -> None:
        """After the last message."""
        self._pass_over(self._away.end + 1, "")
        size, unsure = self.tree.size, self._begin + 1
        left = f"; what is there from message {unsure:,} on can't be compared any more" if unsure <= size else ""
        for head in self._heads:
            told = f"the head that was kept is of {head.size:,} messages, and the log ends after {size:,}{left}"
            self._findings.add("cut", unsure, told)
        if self._due and self._due[0][1].size > size:
            told = f"{self._due[0][1].size:,} messages were signed, and the log ends after {size:,}{left}"
            self._findings.add("cut", unsure, told)
        if self.newest is None:
            if size:
                told = "nothing of the log is signed: alterations show only where they break the chains of entities"
                self._findings.add("unsigned", 1, told)
        elif size > self.newest.size:
            rest = size - self.newest.size
            self._findings.add(
                "uncovered",
                self.newest.size + 1,
                f"the newest {rest:,} messages are not signed yet: only the chains of their entities cover them",
            )

    @property
    def head(self) -> Head:
        """What to keep elsewhere: with it, a later audit proves that the log was only added to."""
        return Head(self.tree.size if self._whole else 0, self.tree.root.hex() if self._whole else "", self.last_hash)

    def _read(self, checkpoints: Sequence[tuple[int, bytes]], keys: frozenset[str]) -> list[tuple[int, Checkpoint]]:
        """Those that can be relied on; of the others it is said what is wrong."""
        usable: list[tuple[int, Checkpoint]] = []
        previous, size, expected = "", 0, 1
        for seq, data in checkpoints:
            if seq != expected:
                told = f"checkpoint {expected} is gone: they go on at {seq}"
                self._findings.add("checkpoint", size + 1, told, "CHECKPOINTS", f"checkpoint/{expected}")
            try:
                each = decode_checkpoint(data)
            except Undecodable:
                self._wrong(seq, size, "can't be read")
                previous, expected = checkpoint_hash(data), seq + 1
                continue
            if wrong := _fault(each, size, previous if seq == expected else each.previous):
                self._wrong(seq, size, wrong)
            elif keys and each.key not in keys:
                told = f"checkpoint {seq} is signed by the key {each.key[:16]}…, not by one that you trust"
                self._findings.add("key", size + 1, told, "CHECKPOINTS", f"checkpoint/{seq}")
            else:
                self.keys[each.key] = self.keys.get(each.key, 0) + 1
                usable.append((seq, each))
                self.newest, self.last_hash = each, checkpoint_hash(data)
            previous, size, expected = checkpoint_hash(data), max(size, each.size), seq + 1
        if self.keys and not keys:
            told = "the checkpoints are signed, but no key was given to compare with: one who replaced all is not found"
            self._findings.add("pinned", 1, told)
        return usable

    def _wrong(self, seq: int, size: int, what: str) -> None:
        self._findings.add("checkpoint", size + 1, f"checkpoint {seq} {what}", "CHECKPOINTS", f"checkpoint/{seq}")

    def _grow(self, leaf: bytes) -> None:
        """The next message has this hash."""
        tree = self.tree
        tree.add(leaf)
        if self._due and self._due[-1][1].size == tree.size:
            self._compare()
        while self._heads and self._heads[0].size == tree.size:
            self._compare_head(self._heads.pop(0))

    def _pass_over(self, seq: int, subject: str) -> None:
        """Nothing is there from where the tree ends up to ``seq``: what was not split away is missing."""
        while (at := self.tree.size + 1) < seq:
            if (leaf := self._away.leaf(at)) is not None:
                self.away += 1
                self._grow(leaf)
            else:
                following = min(self._away.next(at) or seq, seq)
                self._missing(at, following - 1, subject)
                self._skip_to(following)

    def _compare(self) -> None:
        seq, signed = self._due.pop()
        if self.tree.root.hex() == signed.root:
            self.covered += signed.size - self._begin
        else:
            self._findings.add(
                "root",
                self._begin + 1,
                f"messages {self._begin + 1:,} to {signed.size:,} are not what was signed on "
                f"{signed.time:%Y-%m-%d %H:%M:%S} UTC: at least one was altered, added or taken out",
                "",
                f"checkpoint/{seq}",
            )
            self.tree, self._whole = signed.tree, False
        self._begin = signed.size

    def _compare_head(self, head: Head) -> None:
        if self.tree.root.hex() != head.root and self._whole:
            self._findings.add(
                "head",
                1,
                f"the first {head.size:,} messages are not those of the head that was kept: they were altered",
            )

    def _missing(self, first: int, last: int, subject: str) -> None:
        told = f"message {first} is missing" if first == last else f"messages {first:,} to {last:,} are missing"
        self._findings.add("missing", first, told, subject)

    def _skip_to(self, seq: int) -> None:
        """Go on at ``seq`` after a gap: from a checkpoint at its end, if there is one; else unsure till the next."""
        self._whole = False
        skipped: Checkpoint | None = None
        while self._due and self._due[-1][1].size < seq:
            skipped = self._due.pop()[1]
        while self._heads and self._heads[0].size < seq:
            self._heads.pop(0)
        if skipped and skipped.size == seq - 1:
            self.tree, self._begin = skipped.tree, skipped.size
        else:
            if skipped:
                self._begin = skipped.size
            blank = seq - 1
            self.tree = Tree(blank, [bytes(32)] * blank.bit_count())


def _fault(each: Checkpoint, size: int, previous: str) -> str:
    if not each.is_signed:
        return "is not signed by the key that it names"
    if not each.is_whole:
        return "does not hold together: its peaks are not those of its root"
    if each.previous != previous:
        return "does not follow the one before it"
    if each.size <= size:
        return f"is of {each.size:,} messages, no more than the one before it"
    return ""
