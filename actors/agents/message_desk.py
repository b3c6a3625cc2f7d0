"""The message desk: takes in what anybody published to ``submit.message``, and puts it into an agent's inbox."""

import asyncio
from typing import Any, Final, Literal

import msgspec
import structlog
from msgspec import Struct

from callboard.actors import strict_json
from callboard.actors.agents.messages import messages_on
from callboard.actors.desk import Desk, submission_id
from callboard.actors.submission import check_reply
from callboard.bus.log import Bus, Delivery
from callboard.bus.subjects import SUBMIT_MESSAGE
from callboard.events.errors import InvalidInput

_EXAMPLE: Final = '{"agent": "greeter/ann", "body": "Hello"}'
_log = structlog.get_logger(__name__)


class Letter(Struct, frozen=True, forbid_unknown_fields=True):
    """What anybody may publish to ``submit.message``.

    ``reply`` says when the reply subject, or ``reply_to``, is answered: when the message is ``done`` with, or as soon
    as it is ``accepted``. The same ``key`` is the same message. ``traceparent`` is the W3C trace context of the sender.
    """

    agent: str
    body: Any
    key: str | None = None
    by: str = ""
    reply: Literal["done", "accepted"] = "done"
    reply_to: str | None = None
    traceparent: str = ""


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What became of it: it is in the inbox as ``message``, ``kept`` for later, or ``refused``."""

    agent: str
    message: str
    status: Literal["accepted", "kept", "refused"]
    reason: str = ""


class MessageDesk:
    """The actor, and the clerk of its desk."""

    def __init__(self, bus: Bus, source: str) -> None:
        self._bus = bus
        self._messages = messages_on(bus, source)
        self._desk = Desk(bus, SUBMIT_MESSAGE, self)

    @property
    def listening(self) -> asyncio.Event:
        """Set when it hears whoever asks for a reply."""
        return self._desk.listening

    async def run(self) -> None:
        """Take messages until cancelled."""
        await self._desk.run()

    async def take(self, delivery: Delivery, reply: str | None) -> None:
        """Put it into the inbox, or refuse it in words."""
        agent = ""
        try:
            letter = strict_json.read(delivery.record.data, Letter, "message", _EXAMPLE)
            agent, reply = letter.agent, letter.reply_to or reply
            if reply:
                check_reply(reply)
            key = letter.key if letter.key is not None else submission_id(delivery, self._bus.shards)
            to = reply if letter.reply == "done" else None
            span = letter.traceparent or delivery.record.traceparent
            message = await self._messages.put(agent, letter.body, key=key, by=letter.by, reply_to=to, traceparent=span)
            if await self._messages.person(agent):
                await self._bus.wipe(delivery)
        except InvalidInput as error:
            await self._refused(agent, error, reply)
            await self._bus.wipe(delivery)  # it may have been private, for all that is known
            return
        if letter.reply == "accepted":
            await self._desk.answer(reply, Receipt(agent, message, "accepted"))

    async def refuse(self, delivery: Delivery, error: Exception, reply: str | None) -> None:
        """Say that it could not be taken in."""
        await self._refused("", InvalidInput(f"could not be taken in: {error}"), reply)

    def apology(self, delivery: Delivery | None, why: str) -> bytes:
        """A receipt for what waits, or was dropped."""
        return msgspec.json.encode(Receipt("", "", "kept" if delivery else "refused", why))

    async def _refused(self, agent: str, error: InvalidInput, reply: str | None) -> None:
        _log.warning("a message is refused", actor="message desk", agent=agent, error=str(error))
        await self._desk.answer(reply, Receipt(agent, "", "refused", str(error)))
