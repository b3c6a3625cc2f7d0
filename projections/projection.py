"""The shape of a projection, and how its state becomes bytes and comes back.

States are Structs of integers, strings and persistent maps: `apply` returns a new state and leaves the old one as it
was, at a cost that does not grow with its size.
"""

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from callboard.events.envelope import Envelope
from callboard.events.persistent import decode_map, encode_map

S = TypeVar("S")


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
    raw = msgspec.json.encode(state, enc_hook=encode_map, order="deterministic")
    return msgspec.json.encode(Snapshot(projection.name, projection.version, seq, Raw(raw)))


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
