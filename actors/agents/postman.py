"""Brings messages from agent to agent: what the sender's log says was sent, the receiver's says was received.

A sender's host brings it at once. The queue of all mail is there for what a crash left undone. What goes to other cells
has a queue beside it, so that a cell that is down holds nobody else up.
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from callboard.actors.agents.abroad import Abroad
from callboard.actors.commits import Commits
from callboard.actors.loop import Later, Loop, let_go
from callboard.bus.errors import Unavailable
from callboard.bus.log import Bus, Delivery
from callboard.events.agent import AgentState
from callboard.events.agent_events import NOTHING, Answered, Finished, Mail, Received, Sent
from callboard.events.errors import CallboardError, Early, Elsewhere, Undecodable
from callboard.events.shards import ALL

QUEUE: Final = "mail"
QUEUE_ABROAD: Final = "mail-abroad"
ACK_WAIT_S: Final = 2.0
EARLY_S: Final = 0.05
DOWN_S: Final = 2.0
BROKEN_S: Final = 30.0
ALL_MAIL: Final = "evt.*.agent.*.*.*.*"
"""Only mail has an addressee, of two parts."""

REMEMBERED: Final = 10_000
"""Mail that was brought from here, and comes by the queue a moment later."""

_log = structlog.get_logger(__name__)


class Postman:
    """Brings mail, and what is for other cells ``abroad``."""

    def __init__(self, bus: Bus, commits: Commits[AgentState], abroad: Abroad) -> None:
        self._bus = bus
        self._commits = commits
        self._abroad = abroad
        self._ways: dict[tuple[str, str, int], asyncio.Future[AgentState]] = {}

    async def run(self) -> None:
        """Bring what the queues have until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(QUEUE, away=False))
            if self._bus.shards != ALL:
                group.create_task(self._take(QUEUE_ABROAD, away=True))

    def bring(self, sender: str, mail: Mail) -> "asyncio.Future[AgentState]":
        """Bring it at once, unless it is on its way; its result is the receiver's state after it."""
        way = (sender, mail.to, mail.number)
        if way not in self._ways:
            said = _as_received(sender, mail)
            away = self._abroad.is_away(mail.to)
            self._ways[way] = (
                self._abroad.bring(mail.to, said) if away else self._commits.soon(mail.to, lambda _: [said])
            )
            if len(self._ways) > REMEMBERED:
                del self._ways[next(iter(self._ways))]
        return self._ways[way]

    async def _take(self, name: str, *, away: bool) -> None:
        queue = await self._bus.queue(name, ALL_MAIL, ack_wait_s=ACK_WAIT_S)
        await Loop(name, queue, partial(self._handle, away=away), let_go, ack_wait_s=ACK_WAIT_S).run()

    async def _handle(self, delivery: Delivery, *, away: bool) -> None:
        to = delivery.record.subject.rpartition(".")[2]
        if self._abroad.is_away(to) != away:
            return
        for envelope in await self._bus.privacy.read(delivery.record.data):
            if isinstance(envelope.event, Mail) and envelope.event.to:
                try:
                    await asyncio.shield(self.bring(envelope.entity, envelope.event))
                except CallboardError as error:
                    self._ways.pop((envelope.entity, envelope.event.to, envelope.event.number), None)
                    if isinstance(error, Early):
                        raise Later(EARLY_S) from None
                    if isinstance(error, Unavailable) and away:
                        raise Later(DOWN_S) from None
                    if isinstance(error, Elsewhere):
                        _log.error("mail can't be brought", subject=delivery.record.subject, error=str(error))
                        raise Later(BROKEN_S) from None
                    if isinstance(error, Undecodable):  # of a newer version, perhaps, which others can read
                        raise Later(BROKEN_S) from None
                    raise


def _as_received(sender: str, mail: Mail) -> Received | Answered:
    match mail:
        case Sent():
            return Received(
                mail.message,
                mail.body,
                sender,
                mail.number,
                chain=mail.chain,
                handoff=mail.handoff,
                traceparent=mail.traceparent,
                private=mail.private,
            )
        case Finished():
            return Answered(mail.message, sender, mail.number, mail.value, mail.failure, mail.private)
        case _:
            return Answered(mail.message, sender, mail.number, NOTHING, mail.failure, mail.private)
