"""An approval: a person is asked whether something may be done. What may happen to it, and its state.

The rules, kept by `decide`:

- It is bound to its action by a hash: an answer names the hash of what it is about, else it is none.
- It ends once, in one of four ways that are not the same: approved, denied, expired, superseded by another question.
- An answer that comes after the end is recorded as ignored, and changes nothing. The same answer again says nothing.
"""

from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, ClassVar, Final, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.errors import IllegalTransition


class Requested(Struct, frozen=True, gc=False, omit_defaults=True):
    """May ``action`` (JSON, whose ``hash`` is that of `hash_of`) be done? ``by`` asks, and waits until ``expires``.

    It takes the place of the approval ``replaces``, and is about the person that ``private`` names, if any.
    """

    type: ClassVar[str] = "callboard.approval.requested.v1"
    action: Any
    hash: str
    question: str = ""
    by: str = ""
    expires: datetime | None = None
    replaces: str | None = None
    private: str = ""


class Approved(Struct, frozen=True, gc=False, omit_defaults=True):
    """It may be done, says ``by``."""

    type: ClassVar[str] = "callboard.approval.approved.v1"
    hash: str
    by: str
    note: str = ""


class Denied(Struct, frozen=True, gc=False, omit_defaults=True):
    """It may not be done, says ``by``."""

    type: ClassVar[str] = "callboard.approval.denied.v1"
    hash: str
    by: str
    note: str = ""


class Expired(Struct, frozen=True, gc=False, omit_defaults=True):
    """Nobody answered in time."""

    type: ClassVar[str] = "callboard.approval.expired.v1"
    at: datetime


class Superseded(Struct, frozen=True, gc=False, omit_defaults=True):
    """The approval ``by`` is asked for instead."""

    type: ClassVar[str] = "callboard.approval.superseded.v1"
    by: str


class Ignored(Struct, frozen=True, gc=False, omit_defaults=True):
    """``by`` gave an answer that came too late."""

    type: ClassVar[str] = "callboard.approval.ignored.v1"
    approved: bool
    by: str
    reason: str
    note: str = ""


ApprovalEvent: TypeAlias = Requested | Approved | Denied | Expired | Superseded | Ignored
Answer: TypeAlias = Approved | Denied


class Status(StrEnum):
    """Where an approval stands."""

    NEW = "new"
    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


OUTCOMES: Final = frozenset({Status.APPROVED, Status.DENIED, Status.EXPIRED, Status.SUPERSEDED})


class Approval(Struct, frozen=True, gc=False):
    """An approval's state. ``by`` and ``note`` are of its answer, or ``by`` is the approval that superseded it."""

    id: str
    status: Status = Status.NEW
    requested: Requested | None = None
    by: str = ""
    note: str = ""


def hash_of(action: Any) -> str:
    """SHA-256 (hex) of an action's JSON, with the keys of objects in order."""
    return sha256(msgspec.json.encode(action, order="deterministic")).hexdigest()


def decide(approval: Approval, wish: ApprovalEvent) -> list[ApprovalEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when it has been said already.

    Raises IllegalTransition for an answer to what was not asked, and a question under an id that is taken.
    """
    waiting, asked = approval.status is Status.WAITING, approval.requested
    match wish:
        case Requested():
            if asked is None:
                return [wish]
            if asked.hash == wish.hash:
                return []
            raise IllegalTransition(f"approval {approval.id} is about something else: ask anew, under another id")
        case Approved() | Denied():
            return _answered(approval, wish)
        case Expired():
            return [wish] if waiting and asked and asked.expires == wish.at else []
        case Superseded():
            return [wish] if waiting else []
        case Ignored():
            return [wish]
        case _:
            assert_never(wish)


def evolve(approval: Approval, event: ApprovalEvent) -> Approval:
    """The state after ``event``; total, since what is in the log has happened."""
    replace = msgspec.structs.replace
    match event:
        case Requested():
            return replace(approval, status=Status.WAITING, requested=event)
        case Approved():
            return replace(approval, status=Status.APPROVED, by=event.by, note=event.note)
        case Denied():
            return replace(approval, status=Status.DENIED, by=event.by, note=event.note)
        case Expired():
            return replace(approval, status=Status.EXPIRED)
        case Superseded():
            return replace(approval, status=Status.SUPERSEDED, by=event.by)
        case Ignored():
            return approval
        case _:
            assert_never(event)


def _answered(approval: Approval, wish: Answer) -> list[ApprovalEvent]:
    if approval.requested is None:
        raise IllegalTransition(f"no approval {approval.id!r}: see `callboard approvals`")
    if wish.hash != approval.requested.hash:
        asked = approval.requested.hash[:12]
        raise IllegalTransition(
            f"approval {approval.id} is about {asked}, not about {wish.hash[:12]!r}: look at it again"
        )
    if approval.status is Status.WAITING:
        return [wish]
    approved = isinstance(wish, Approved)
    if approval.status is (Status.APPROVED if approved else Status.DENIED):
        return []
    return [Ignored(approved, wish.by, f"it is {approval.status}", wish.note)]
