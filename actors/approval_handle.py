"""One approval on the board, as a client uses it: wait for how it ends, or answer it."""

import asyncio

from callboard.actors.approvals import Approvals
from callboard.events.approval import Approval, Approved, Denied


class ApprovalHandle:
    """An approval on the board."""

    def __init__(self, approvals: Approvals, approval_id: str) -> None:
        self._approvals = approvals
        self.id = approval_id

    async def result(self, timeout_s: float | None = None) -> Approval:
        """Wait for how it ends. Raises TimeoutError when it has not within ``timeout_s``; it goes on waiting."""
        async with asyncio.timeout(timeout_s):
            return await self._approvals.ended(self.id)

    async def state(self) -> Approval:
        """As the log has it now."""
        return await self._approvals.state(self.id)

    async def approve(self, by: str, note: str = "") -> Approval:
        """Say that it may be done. Raises IllegalTransition when it has ended otherwise; that is recorded."""
        return await self._approvals.answer(self.id, Approved((await self._bound()), by, note))

    async def deny(self, by: str, note: str = "") -> Approval:
        """Say that it may not be done. Raises IllegalTransition when it has ended otherwise; that is recorded."""
        return await self._approvals.answer(self.id, Denied((await self._bound()), by, note))

    async def _bound(self) -> str:
        requested = (await self.state()).requested
        assert requested is not None
        return requested.hash
