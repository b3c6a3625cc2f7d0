"""The keys of persons, as one process has them: made, unwrapped, held for a minute at most, destroyed.

What becomes of a key is in the log, as events of the person; the key itself is in the stream KEYS alone, encrypted
under the master key. ``forgotten`` is in the log before the key is erased, so nobody destroys one without a trace; if a
crash comes in between, forgetting the person again does the rest.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from callboard.bus import cipher
from callboard.bus.cipher import Cipher, Damaged
from callboard.bus.entities import NEWEST, PERSON, Entities
from callboard.bus.errors import Locked
from callboard.bus.log import Keys, Log, Note, Signals
from callboard.bus.subjects import FORGET, forgets
from callboard.events import errors
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id
from callboard.events.person import Forgotten, Keyed, Person, PersonEvent

HELD_S: Final = 60.0
"""So long a key is used without looking whether it is still there."""

FRESH_S: Final = 1.0
"""So long it is for what is new: said under a key that is destroyed already, it would be lost."""

MOST_HELD: Final = 10_000


class Master(Protocol):
    """Gives the master key, which may be made for the first, ``new``, key. Raises Locked that says how to set it."""

    def __call__(self, *, new: bool = False) -> bytes:
        """The key, of `KEY` bytes."""
        ...


_NEVER: Final = (-1, 0.0)


class Kept(Struct, frozen=True):
    """What the stream KEYS holds of a person: the ``key`` of a generation, wrapped under the master key named so."""

    generation: int
    key: bytes
    master: bytes


class _Held(NamedTuple):
    cipher: Cipher
    until: float


class Keyring:
    """The keys that one connection uses."""

    def __init__(
        self, keys: Keys, log: Log, signals: Signals, master: Master, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._signals = signals
        self._master = master
        self._clock = clock
        self._persons: Entities[Person] = Entities(log, PERSON, "keyring")
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._gone: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._seen: OrderedDict[frozenset[tuple[str, int]], tuple[int, float]] = OrderedDict()
        self._losses = 0
        """How often keys were destroyed, or may have been, as far as was heard."""
        self._listening: asyncio.Task[object] | None = None

    async def known(self, person: str) -> Cipher | None:
        """The person's key, None if there is none.

        Raises:
            Locked: there is one, and it can't be unwrapped here.
            BusError: it can't be looked up.
        """
        held = self._held.get(person)
        if held and held.until > self._clock():
            self._held.move_to_end(person)
            return held.cipher
        self._held.pop(person, None)
        await self._listen()
        while True:
            losses = self._losses
            data = await self._keys.get(person)
            if losses == self._losses:  # else it may have been destroyed since it was read
                return self._hold(person, data) if data is not None else None

    async def welcome(self, person: str) -> Cipher:
        """The key for something new to be said of a person, who may have been forgotten before; made if need be.

        Raises as `known`, Locked when the key is gone though nobody destroyed it, and InvalidId.
        """
        checked_id(person, "private")
        held = self._held.get(person)
        if held and held.until - HELD_S + FRESH_S > self._clock():
            return held.cipher
        self._held.pop(person, None)
        while True:
            found, state = await self.known(person), await self.state(person)
            if found and state.forgotten and found.generation <= state.generation:
                await self._erase(person, state.generation)  # whoever forgot the person did not come to it
                continue
            if found is None:
                if state.generation and not state.forgotten:
                    # it may have been made since it was looked for, or be destroyed by now
                    if await self.known(person) is None and await self.state(person) == state:
                        raise _lost(person)
                    continue
                found = await self._make(person, state.generation + 1)
            if found is not None:
                await self._persons.tell(person, partial(_saying, Keyed(found.generation)))
                return found

    async def given(self, person: str) -> Cipher | None:
        """The key for something more to be said of a person; None if the person has been forgotten meanwhile.

        Raises as `welcome`.
        """
        if (found := await self.known(person)) is not None:
            return found
        return None if (await self.state(person)).forgotten else await self.welcome(person)

    async def of(self, person: str, generation: int) -> Cipher:
        """The key of one generation. Raises Forgotten, and as `known`."""
        if generation == 0 or (person, generation) in self._gone:
            raise errors.Forgotten(person)
        found = await self.known(person)
        if found is not None and found.generation < generation:  # held from before the person was forgotten
            self._held.pop(person, None)
            found = await self.known(person)
        if found is not None and found.generation == generation:
            return found
        state = await self.state(person)
        if state.generation == generation and not state.forgotten:
            raise _lost(person)
        self._gone[person, generation] = None  # and will never come back
        if len(self._gone) > MOST_HELD:
            self._gone.popitem(last=False)
        raise errors.Forgotten(person)

    async def destroy(self, person: str, by: str, reason: str) -> Person:
        """Destroy a person's key, for everybody and for good; done already, it does what is left to do of that.

        Raises InvalidInput when there never was a key.
        """
        state, newest = await self.state(person), await self._generation(person)
        if newest > state.generation:  # whoever made it did not come to say so
            state = (await self._persons.tell(person, partial(_saying, Keyed(newest)))).entity.state
        if not state.generation:
            raise InvalidInput(f"nothing private was ever said of {person!r}: there is no key of that name")
        said = Forgotten(state.generation, by, reason)
        state = (await self._persons.tell(person, partial(_saying, said))).entity.state
        await self._erase(person, state.generation)
        return state

    async def has(self, keys: frozenset[tuple[str, int]]) -> bool:
        """Whether all these keys, each a person's with its generation, are still there."""
        if self._seen.get(keys, _NEVER) > (self._losses, self._clock()):
            return True
        losses, until = self._losses, self._clock() + HELD_S
        for person, generation in keys:
            found = await self.known(person)
            if found is None or found.generation != generation:
                return False
            until = min(until, self._held[person].until if person in self._held else 0.0)
        self._seen[keys] = losses, until
        self._seen.move_to_end(keys)
        if len(self._seen) > MOST_HELD:
            self._seen.popitem(last=False)
        return True

    async def look_again(self) -> None:
        """Hold no key that may have been destroyed while nothing was heard; for after a lost connection."""
        self._losses += 1
        self._held.clear()

    async def state(self, person: str) -> Person:
        """The person as the log has it now."""
        return (await self._persons.load(checked_id(person, "person"), at_least=NEWEST)).state

    async def all(self) -> list[Person]:
        """All persons that there are or were keys of, by name."""
        return sorted((loaded.state for loaded in await self._persons.all()), key=lambda person: person.id)

    async def lost(self) -> list[str]:
        """The persons whose newest key is gone, though the log has nobody destroy it."""
        known = [person for person in await self.all() if person.generation and not person.forgotten]
        return [person.id for person in known if await self._generation(person.id) != person.generation]

    async def names(self) -> list[str]:
        """The persons that there is a key of."""
        return await self._keys.names()

    async def _generation(self, person: str) -> int:
        """Of the key that is kept of a person, 0 if there is none."""
        data = await self._keys.get(person)
        return msgspec.json.decode(data, type=Kept).generation if data is not None else 0

    async def _make(self, person: str, generation: int) -> Cipher | None:
        """A new key; None if another was faster."""
        master = self._master(new=True)
        wrapped = cipher.wrap(master, person, cipher.new_key())
        data = msgspec.json.encode(Kept(generation, wrapped, cipher.name_of(master)))
        return self._hold(person, data) if await self._keys.add(person, data) else None

    async def _erase(self, person: str, generation: int) -> None:
        """Erase a key, unless it is a newer one than that, and tell everybody."""
        data = await self._keys.get(person)
        if data is not None and msgspec.json.decode(data, type=Kept).generation <= generation:
            await self._keys.erase(person, data)
        self._lose(person)
        await self._signals.publish(forgets(person), b"")

    def _hold(self, person: str, data: bytes) -> Cipher:
        kept, master = msgspec.json.decode(data, type=Kept), self._master()
        if kept.master != cipher.name_of(master):
            raise Locked(
                f"the key of {person} is locked with another master key ({kept.master.hex()}) than the one set here "
                f"({cipher.name_of(master).hex()}): set the one that it was made with"
            )
        try:
            found = Cipher(person, kept.generation, cipher.unwrap(master, person, kept.key))
        except Damaged:
            raise Locked(f"the key of {person} is damaged: restore the stream KEYS from a backup") from None
        self._held[person] = _Held(found, self._clock() + HELD_S)
        if len(self._held) > MOST_HELD:
            self._held.popitem(last=False)
        return found

    async def _listen(self) -> None:
        """Hear of keys that others destroy, from the first one on that is used here."""
        if self._listening is None:
            self._listening = asyncio.ensure_future(self._signals.subscribe(FORGET, self._hear))
        await asyncio.shield(self._listening)

    async def _hear(self, note: Note) -> None:
        self._lose(note.subject.rpartition(".")[2])

    def _lose(self, person: str) -> None:
        self._losses += 1
        self._held.pop(person, None)


def _saying(event: PersonEvent, _person: Person) -> list[PersonEvent]:
    return [event]


def _lost(person: str) -> Locked:
    return Locked(
        f"the key of {person} is gone, and nobody has destroyed it: restore the stream KEYS from a backup, "
        f"or let `callboard forget {person}` say that it is lost"
    )
