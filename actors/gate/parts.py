"""Words as the bytes of messages: one that is too large for a message goes in parts."""

import secrets
from collections import OrderedDict
from typing import Any, Final, Generic, TypeVar

import msgspec

from callboard.actors.gate.words import MAX_ANSWER, MAX_REQUEST, PART, ByBackend, ByGate, Part, Unreadable

W = TypeVar("W")
AT_ONCE: Final = 64
"""Words that may be under way in parts; of more, the oldest is given up, and comes again."""

_encoder = msgspec.msgpack.Encoder()
_by_backend: msgspec.msgpack.Decoder[ByBackend | Part] = msgspec.msgpack.Decoder(ByBackend | Part)
_by_gate: msgspec.msgpack.Decoder[ByGate | Part] = msgspec.msgpack.Decoder(ByGate | Part)


def messages(word: ByBackend | ByGate) -> list[bytes]:
    """A word as one message, or as many parts."""
    data = _encoder.encode(word)
    if len(data) <= PART:
        return [data]
    pieces = [data[start : start + PART] for start in range(0, len(data), PART)]
    name = secrets.token_hex(8)
    return [_encoder.encode(Part(name, number, len(pieces), piece)) for number, piece in enumerate(pieces)]


class Joiner(Generic[W]):
    """Makes words of messages; a word has ``most`` bytes, and all that are under way have ``room`` together."""

    def __init__(self, decoder: "msgspec.msgpack.Decoder[W | Part]", most: int, room: int) -> None:
        self._decoder = decoder
        self._most = most
        self._room = room
        self._under_way: OrderedDict[tuple[str, str], dict[int, bytes]] = OrderedDict()
        self._size = 0

    def word(self, data: bytes, sender: str = "") -> W | None:
        """The word that a message is, or ends; None as long as parts are missing. Raises Unreadable."""
        told: Any = self._decoded(data)
        if not isinstance(told, Part):
            return told  # type: ignore[no-any-return]
        if told.count * PART > self._most + PART or told.number >= told.count or len(told.data) > PART:
            raise Unreadable(f"a word of {told.count} parts is too large: {self._most} bytes are the most")
        name = sender, told.word
        parts = self._under_way.setdefault(name, {})
        self._size += len(told.data) - len(parts.get(told.number, b""))
        parts[told.number] = told.data
        if len(parts) == told.count:
            self._drop(name)
            whole: Any = self._decoded(b"".join(parts[number] for number in range(told.count)))
            if isinstance(whole, Part):
                raise Unreadable("a part of a part is no word")
            return whole  # type: ignore[no-any-return]
        while len(self._under_way) > AT_ONCE or self._size > self._room:
            self._drop(next(iter(self._under_way)))
        return None

    def _drop(self, name: tuple[str, str]) -> None:
        self._size -= sum(map(len, self._under_way.pop(name).values()))

    def _decoded(self, data: bytes) -> Any:
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Unreadable(f"not a word of the gate's: {error}") from None


def joiner_of_backend() -> Joiner[ByBackend]:
    """For what all processes of a backend say."""
    return Joiner(_by_backend, MAX_ANSWER, 4 * MAX_ANSWER)


def joiner_of_gate() -> Joiner[ByGate]:
    """For what a gate says."""
    return Joiner(_by_gate, MAX_REQUEST, 2 * MAX_REQUEST)
