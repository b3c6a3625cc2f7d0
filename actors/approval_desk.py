"""The approval desk: takes in what anybody published to ``submit.approval``, and sees to it that questions end.

An answer is one JSON message, from any language. Of each new question the desk sets the timer that ends it, and what it
replaces is superseded: so nothing of a question that waits for days is held in memory.
"""

import asyncio
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from callboard.actors import strict_json
from callboard.actors.alarms import set_expiry
from callboard.actors.approvals import Approvals
from callboard.actors.desk import ACK_WAIT_S, Desk
from callboard.actors.loop import Loop, let_go
from callboard.bus.entities import APPROVAL, Entities
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import SUBMIT_APPROVAL
from callboard.events.approval import Approved, Denied, Requested, Status
from callboard.events.envelope import decode
from callboard.events.errors import CallboardError, IllegalTransition, InvalidInput

_log = structlog.get_logger(__name__)


class Decision(Struct, frozen=True, forbid_unknown_fields=True):
    """What anybody may publish to ``submit.approval``; ``hash`` is that of the action, as its request tells."""

    approval: str
    decision: Literal["approve", "deny"]
    hash: str
    by: str
    note: str = ""


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What became of it: how the approval stands, or ``refused``."""

    approval: str
    status: Status | Literal["refused"]
    reason: str = ""


class ApprovalDesk:
    """The actor, and the clerk of its desk."""

    def __init__(self, bus: Bus, source: str) -> None:
        self._bus = bus
        self._approvals = Approvals(bus, Entities(bus.log, APPROVAL, source, privacy=bus.privacy))
        self._desk = Desk(bus, SUBMIT_APPROVAL, self)

    @property
    def listening(self) -> asyncio.Event:
        """Set when it hears whoever asks for a reply."""
        return self._desk.listening

    async def run(self) -> None:
        """Take answers, and look after questions, until cancelled."""
        queue = await self._bus.queue("approvals", "evt.*.approval.*.requested", ack_wait_s=ACK_WAIT_S)
        loop = Loop("approvals", queue, self._requested, let_go, ack_wait_s=ACK_WAIT_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._desk.run())
            group.create_task(loop.run())

    async def take(self, delivery: Delivery, reply: str | None) -> None:
        """Append the answer to its approval."""
        approval_id = ""
        example = '{"approval": "…", "decision": "approve", "hash": "…", "by": "ann"}'
        try:
            given = strict_json.read(delivery.record.data, Decision, "decision", example)
            approval_id = given.approval
            answer = (Approved if given.decision == "approve" else Denied)(given.hash, given.by, given.note)
            after = await self._approvals.answer(approval_id, answer)
            if after.requested and after.requested.private:
                await self._bus.wipe(delivery)
        except (InvalidInput, IllegalTransition) as error:
            await self._refused(approval_id, error, reply)
        else:
            await self._desk.answer(reply, Receipt(approval_id, after.status))

    async def refuse(self, delivery: Delivery, error: Exception, reply: str | None) -> None:
        """Say that it could not be taken in."""
        await self._refused("", InvalidInput(f"could not be taken in: {error}"), reply)

    def apology(self, delivery: Delivery | None, why: str) -> bytes:
        """A receipt for what waits, or was dropped."""
        return msgspec.json.encode(Receipt("", Status.WAITING if delivery else "refused", why))

    async def _requested(self, delivery: Delivery) -> None:
        for envelope in decode(delivery.record.data):  # what everybody may know of it is enough
            if isinstance(envelope.event, Requested):
                await set_expiry(self._bus, envelope.entity, envelope.event.expires)
                if envelope.event.replaces:
                    await self._approvals.supersede(envelope.event.replaces, envelope.entity)

    async def _refused(self, approval_id: str, error: CallboardError, reply: str | None) -> None:
        _log.warning("an answer is refused", actor="approvals", approval=approval_id, error=str(error))
        await self._desk.answer(reply, Receipt(approval_id, "refused", str(error)))
