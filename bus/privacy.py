"""What is about persons is sealed on its way into the log, the blob store and the snapshots, and opened on its way out.

Whoever reads events elsewhere (projections, traces, other tools) sees what everybody may know; see
`callboard.events.private`. What is still said of a person who was forgotten meanwhile is not kept at all.
"""

from collections.abc import Sequence
from typing import NoReturn

from msgspec.structs import replace

from callboard.bus.cipher import LOST, Damaged, generation_of
from callboard.bus.errors import Locked
from callboard.bus.keyring import Keyring
from callboard.events import envelope as events
from callboard.events.envelope import Envelope, decode
from callboard.events.errors import Forgotten, Undecodable
from callboard.events.private import public


def no_master(*, new: bool = False) -> NoReturn:  # noqa: ARG001  as any `Master`
    """The master key of who has none. Raises Locked."""
    raise Locked("no master key is set here, and private data can't be read or written without: see [privacy]")


class Privacy:
    """Seals and opens for one connection, with the keys of its ``keyring``."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    async def sealed(self, envelopes: Sequence[Envelope], persons: Sequence[str]) -> list[Envelope]:
        """Events that are about to be written, each about one of ``persons`` or (empty) about none.

        Raises Locked, and what the bus raises.
        """
        return [
            await self._sealed(envelope, person) if person else envelope
            for envelope, person in zip(envelopes, persons, strict=True)
        ]

    async def opened(self, envelopes: Sequence[Envelope]) -> Sequence[Envelope]:
        """Events that were read; what nobody can read any more says so.

        Raises Locked, Undecodable for what was altered, and what the bus raises.
        """
        if not any(envelope.sealed for envelope in envelopes):
            return envelopes
        return [await self._opened(envelope) if envelope.sealed else envelope for envelope in envelopes]

    async def read(self, data: bytes) -> Sequence[Envelope]:
        """The events of one message; raises as `opened`."""
        return await self.opened(decode(data))

    async def seal(self, person: str, place: str, value: bytes) -> bytes:
        """A value about a person, as it is kept in one place."""
        cipher = await self.keyring.given(person)
        return cipher.seal(place, value) if cipher else LOST

    async def open(self, person: str, place: str, sealed: bytes) -> bytes:
        """A value that was sealed for a place. Raises Forgotten, Locked, and Undecodable for what was altered."""
        try:
            return (await self.keyring.of(person, generation_of(sealed))).open(place, sealed)
        except Damaged as error:
            raise Undecodable(f"{place} of {person} can't be read: {error}") from None

    async def _sealed(self, envelope: Envelope, person: str) -> Envelope:
        if public(envelope.event, person) == envelope.event:  # type: ignore[arg-type]  # only these have a person
            return envelope
        sealed = await self.seal(person, _place(envelope), events.whole(envelope))
        return replace(envelope, private=person, sealed=sealed, opened=True)

    async def _opened(self, envelope: Envelope) -> Envelope:
        try:
            said = await self.open(envelope.private, _place(envelope), envelope.sealed)
        except Forgotten:
            return events.forgotten(envelope)
        return events.opened(envelope, said)


def _place(envelope: Envelope) -> str:
    return f"{envelope.subject}#{envelope.version}"
