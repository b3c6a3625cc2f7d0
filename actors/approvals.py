"""Approvals: asking people, and answering. The rules are in `callboard.events.approval`."""

from typing import Any

from callboard.actors.strict_json import checked
from callboard.actors.submission import after, id_from
from callboard.bus.clock import new_entity_id, now
from callboard.bus.entities import NEWEST, Entities, Loaded
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
    hash_of,
)
from callboard.events.errors import IllegalTransition, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.trace import SpanContext


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
        private: str = "",
        owner: str | None = None,
        context: SpanContext | None = None,
    ) -> Approval:
        """Ask whether ``action`` may be done, below the span ``context``, in ``owner``'s shard; see `Board.ask`."""
        expires = after(now(), expires_s, "expires_s")
        approval_id = (
            await self._id(key, owner) if key is not None else new_entity_id(owner or replaces, self._bus.shards)
        )
        if replaces is not None:
            await self.state(checked_id(replaces, "replaces"))
        action = checked(action, Any, "the action")
        if private:
            await self._bus.privacy.keyring.welcome(private)
        asked = Requested(action, hash_of(action), question, by, expires, replaces, private)
        requested = checked(asked, Requested, "the question")
        return (await self._entities.tell(approval_id, lambda _: [requested], context=context)).entity.state

    async def state(self, approval_id: str) -> Approval:
        """An approval as the log has it now. Raises InvalidInput when there is none."""
        return (await self._load(approval_id)).state

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
        answered = told.entity.state
        if any(isinstance(envelope.event, Ignored) for envelope in told.appended):
            raise IllegalTransition(
                f"approval {approval_id} {_ended(answered)}: the answer is recorded, and changes nothing"
            )
        return answered

    async def expire(self, approval_id: str) -> None:
        """Let it expire, if its time has come."""
        await self._entities.tell(approval_id, _overdue)

    async def supersede(self, approval_id: str, by: str) -> None:
        """Let another take its place, if it still waits."""
        await self._entities.tell(approval_id, lambda _: [Superseded(by)])

    async def ended(self, approval_id: str) -> Approval:
        """Wait until it has ended. Raises InvalidInput when there is none."""
        loaded = await self._load(approval_id)
        approval = loaded.state
        if approval.status not in OUTCOMES:
            async for _batch in self._bus.log.follow(f"{entity('approval', approval_id)}.>", after=loaded.seq):
                approval = await self.state(approval_id)
                if approval.status in OUTCOMES:
                    break
        return approval

    async def all(self) -> list[Approval]:
        """All that there are, those that changed last first."""
        return [loaded.state for loaded in reversed(await self._entities.all())]

    async def _id(self, key: str, owner: str | None) -> str:
        old = id_from("approval", key)
        if owner and self._bus.shards.holds("approval", old) and (await self._entities.load(old)).seq:
            return old  # asked by a version that drew another shard
        return id_from("approval", key, owner=owner)

    async def _load(self, approval_id: str) -> Loaded[Approval]:
        loaded = await self._entities.load(checked_id(approval_id, "approval"), at_least=NEWEST)
        if loaded.state.status is Status.NEW:
            raise InvalidInput(f"no approval {approval_id!r}: see `callboard approvals`")
        return loaded


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
