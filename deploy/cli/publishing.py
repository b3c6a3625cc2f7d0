"""Submitting with the key of a publisher, who may send tasks and hear how they end, and reads nothing of the log."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from callboard.actors.outcome import Outcome
from callboard.bus import plain
from callboard.bus.addresses import shown
from callboard.bus.errors import Forbidden, Unavailable
from callboard.bus.log import Note
from callboard.bus.plain import PlainBus
from callboard.bus.subjects import SUBMIT
from callboard.deploy.cli.options import Where
from callboard.deploy.cli.printing import warn, working
from callboard.deploy.nats_door import SUBMITTER, door_of
from callboard.events.task import ENDED, Status
from callboard.events.task_spec import Blob, Text

PATIENCE_S: Final = 3.0
"""After so long without an answer somebody who waits is told; after a loss of the connection it is asked again."""


class Publisher:
    """A connection to ``url`` that sends tasks and hears of them. Made by `publisher_at`."""

    def __init__(self, bus: PlainBus, url: str) -> None:
        self._bus = bus
        self._url = url

    async def submit(self, fields: dict[str, Any]) -> Outcome:
        """Send a task, and say how it ended; how it stands, if ``fields`` want a reply as soon as it is accepted.

        One with a ``key`` is sent again whenever the connection was lost, and is done once all the same.

        Raises:
            Unavailable: there is no room for it, or the connection was lost meanwhile and the task has no key.
        """
        signals = self._bus.signals
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        message, inbox, lost = msgspec.json.encode(fields), signals.inbox(), asyncio.Event()

        async def hear(note: Note) -> None:
            outcome = msgspec.json.decode(note.data, type=Outcome)
            if told.done():
                return
            if outcome.status is Status.NEW:
                told.set_exception(Unavailable(outcome.reason))
            elif outcome.status in ENDED or "reply" in fields:
                told.set_result(outcome)

        async def regained() -> None:
            lost.set()
            if "key" not in fields and not told.done():
                why = f"the connection to NATS at {shown(self._url)} was lost, and the answer with it"
                told.set_exception(Unavailable(f"{why}: with --key one can submit again"))

        await signals.subscribe(inbox, hear)
        self._bus.on_reconnect(regained)
        await signals.publish(SUBMIT, message, reply=inbox)
        with working("The task is under way"):
            if not (await asyncio.wait([told], timeout=PATIENCE_S))[0]:
                warn("no answer yet: if no node runs there, the task is kept until one does")
            while not (await asyncio.wait([told], timeout=PATIENCE_S))[0]:
                if lost.is_set():  # the server may have forgotten who waits: asked again, it is told how it stands
                    await signals.publish(SUBMIT, message, reply=inbox)
        return await told


def text_told(text: Text) -> str:
    """The text of an answer, which came along unless it is too long. Raises Forbidden."""
    if isinstance(text, Blob):
        raise Forbidden(f"the answer has {text.size} bytes, and lies where the key of a publisher does not read")
    return text


def is_publishers(where: Where) -> bool:
    """Whether nothing more than a publisher's key is at hand for a server. Raises InvalidInput: there is no key."""
    url, _ = where.address()
    if not url:
        return False
    credentials = door_of(where.settings().nats, os.environ, SUBMITTER).credentials
    return credentials is not None and credentials.role == "publisher"


@asynccontextmanager
async def publisher_at(where: Where) -> AsyncIterator[Publisher]:
    """A publisher's connection to the server that the command line means. Raises Unavailable."""
    nats = where.settings().nats
    with working("Connecting"):
        name, door = f"callboard-publisher#{secrets.token_hex(4)}", door_of(nats, os.environ, SUBMITTER)
        bus = await plain.connect(nats.url, name=name, door=door)
    try:
        yield Publisher(bus, nats.url)
    finally:
        await bus.aclose()
