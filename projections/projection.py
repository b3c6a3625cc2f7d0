"""The shape of a projection, and how its state becomes bytes and comes back.

States are Structs of integers, strings and persistent maps: `apply` returns a new state and leaves the old one as it
was, at a cost that does not grow with its size.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from callboard.events.envelope import Envelope
from callboard.events.persistent import Map, decode_map, encode_map

S = TypeVar("S")

PIECE: Final = 100
"""So many entries of a map are encoded at a time; it takes about 0.2 ms."""


class Projection(NamedTuple, Generic[S]):
    """A fold with a name. ``version`` goes up whenever `apply` or the state's form changes: old snapshots are void."""

    name: str
    version: int
    state_type: type[S]
    apply: Callable[[S, Envelope], S]

    def initial(self) -> S:
        """The state before the first event."""
        return self.state_type()


class Snapshot(Struct, frozen=True, gc=False):
    """A projection's state as folded up to and including the log sequence ``seq``."""

    name: str
    version: int
    seq: int
    state: Raw


def fold(projection: Projection[S], state: S, envelopes: Iterable[Envelope]) -> S:
    """The state after all ``envelopes``."""
    for envelope in envelopes:
        state = projection.apply(state, envelope)
    return state


def dump(projection: Projection[S], state: S, seq: int) -> bytes:
    """A snapshot; equal states give equal bytes."""
    return b"".join(pieces(projection, state, seq))


def pieces(projection: Projection[S], state: S, seq: int) -> Iterator[bytes]:
    """A snapshot bit by bit: between two of them others can have a turn, however large the state is."""
    yield _encode(Snapshot(projection.name, projection.version, seq, Raw(b"null"))).removesuffix(b"null}")
    yield from _pieces(state)
    yield b"}"


def load(projection: Projection[S], data: bytes) -> tuple[S, int] | None:
    """State and sequence from a snapshot; None when another version of the code wrote it."""
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
        if (snapshot.name, snapshot.version) != (projection.name, projection.version):
            return None
        state = msgspec.json.decode(snapshot.state, type=projection.state_type, dec_hook=decode_map)
    except msgspec.MsgspecError:
        return None
    return state, snapshot.seq


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Map) and len(value) > PIECE:
        keys = iter(sorted(value))
        opening = b"{"
        while some := {key: value[key] for key in islice(keys, PIECE)}:
            yield opening + _encode(some)[1:-1]
            opening = b","
        yield b"}"
    elif isinstance(value, Struct) and _has_all_fields(value):
        opening = b"{"
        for field, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            yield opening + _encode(name) + b":"
            yield from _pieces(getattr(value, field))
            opening = b","
        yield b"}"
    else:
        yield _encode(value)


def _has_all_fields(value: Struct) -> bool:
    """Whether it is an object of all its fields, and of nothing else."""
    config = value.__struct_config__
    return bool(value.__struct_fields__) and not (config.omit_defaults or config.array_like or config.tag)


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=encode_map, order="deterministic")
