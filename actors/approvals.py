"""Approvals: asking people, and answering. The rules are in `callboard.events.approval`."""

from datetime import timedelta
from typing import Any, Final

from callboard.actors.strict_json import checked
from callboard.actors.submission import id_from
from callboard.bus.clock import new_entity_id, now
from callboard.bus.entities import NEWEST, Entities
from callboard.bus.log import Bus
from callboard.bus.subjects import entity
from callboard.events.approval import (
    OUTCOMES,
    Answer,
    Approval,
    ApprovalEvent,
    Expired,
    Ignored,
    Requested,
    Status,
    Superseded,
    evolve,
    hash_of,
)
from callboard.events.envelope import decode
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.ids import checked_id

LONGEST_S: Final = 10 * 366 * 86_400.0


class Approvals:
    """All approvals, as one client sees and changes them."""

    def __init__(self, bus: Bus, entities: Entities[Approval]) -> None:
        self._bus = bus
        self._entities = entities

    async def request(
        self,
        action: Any,
        *,
        question: str = "",
        by: str = "",
        expires_s: float | None = None,
        replaces: str | None = None,
        key: str | None = None,
    ) -> Approval:
        """Ask whether ``action`` may be done; see `Board.ask`."""
        if expires_s is not None and not 0 < expires_s <= LONGEST_S:
            raise InvalidInput(f"expires_s must be over 0 and at most ten years in seconds, got {expires_s}")
        approval_id = id_from("approval", key) if key is not None else new_entity_id()
        expires = now() + timedelta(seconds=expires_s) if expires_s is not None else None
        if replaces is not None:
            await self.state(checked_id(replaces, "replaces"))
        action = checked(action, Any, "the action")
        asked = Requested(action, hash_of(action), question, by, expires, replaces)
        requested = checked(asked, Requested, "the question")
        return (await self._entities.tell(approval_id, lambda _: [requested])).entity.state

    async def state(self, approval_id: str) -> Approval:
        """An approval as the log has it now. Raises InvalidInput when there is none."""
        approval = (await self._entities.load(checked_id(approval_id, "approval"), at_least=NEWEST)).state
        if approval.status is Status.NEW:
            raise InvalidInput(f"no approval {approval_id!r}: see `callboard approvals`")
        return approval

    async def answer(self, approval_id: str, answer: Answer) -> Approval:
        """Approve or deny what was asked.

        Raises:
            IllegalTransition: it has ended otherwise, which is recorded; or it is about something else.
            InvalidInput: there is no such approval.
        """
        await self.state(approval_id)
        given = checked(answer, type(answer), "the answer")

        def wish(approval: Approval) -> list[ApprovalEvent]:
            return [*_overdue(approval), given]

        told = await self._entities.tell(approval_id, wish)
        after = told.entity.state
        if any(isinstance(envelope.event, Ignored) for envelope in told.appended):
            raise IllegalTransition(
                f"approval {approval_id} {_ended(after)}: the answer is recorded, and changes nothing"
            )
        return after

    async def expire(self, approval_id: str) -> None:
        """Let it expire, if its time has come."""
        await self._entities.tell(approval_id, _overdue)

    async def supersede(self, approval_id: str, by: str) -> None:
        """Let another take its place, if it still waits."""
        await self._entities.tell(approval_id, lambda _: [Superseded(by)])

    async def ended(self, approval_id: str) -> Approval:
        """Wait until it has ended. Raises InvalidInput when there is none."""
        loaded = await self._entities.load(checked_id(approval_id, "approval"), at_least=NEWEST)
        approval = await self.state(approval_id)
        if approval.status not in OUTCOMES:
            async for _batch in self._bus.log.follow(f"{entity('approval', approval_id)}.>", after=loaded.seq):
                approval = await self.state(approval_id)
                if approval.status in OUTCOMES:
                    break
        return approval

    async def all(self) -> list[Approval]:
        """All that there are, the newest first."""
        found: dict[str, Approval] = {}
        async for batch in self._bus.log.read_all("evt.*.approval.>"):
            for envelope in (each for record in batch for each in decode(record.data)):
                event: Any = envelope.event
                found[envelope.entity] = evolve(found.pop(envelope.entity, Approval(envelope.entity)), event)
        return [*reversed(found.values())]


def _overdue(approval: Approval) -> list[ApprovalEvent]:
    """That it has expired, if it has and nobody has said so yet."""
    expires = approval.requested.expires if approval.requested else None
    return [Expired(expires)] if expires and approval.status is Status.WAITING and expires <= now() else []


def _ended(approval: Approval) -> str:
    expires = approval.requested.expires if approval.requested else None
    match approval.status:
        case Status.EXPIRED if expires:
            return f"expired at {expires.isoformat(timespec='seconds')}"
        case Status.SUPERSEDED:
            return f"was superseded by {approval.by}"
        case Status.APPROVED | Status.DENIED:
            return f"was {approval.status} by {approval.by}"
    return f"is {approval.status}"
