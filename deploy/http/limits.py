"""What a client may take of the server: bytes, time, connections."""

from typing import Final, NamedTuple

from callboard.bus.limits import MAX_SUBMISSION

MAX_BODY: Final = MAX_SUBMISSION - 64 * 1024
"""Bytes of a request's body: as a message on the bus, which has its headers in the same limit."""


class Limits(NamedTuple):
    """Times in seconds.

    A request's head has to be there within ``head_s`` of the connection or its first byte, the body within ``body_s``
    after it, and a client that takes nothing for ``write_s`` is cut off. Nobody waits for an outcome for longer than
    ``wait_s`` in one request. A stream of events that is quiet says that it is there every ``ping_s``. So many
    ``connections`` there are at most, and ``streams`` among them.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    write_s: float = 30.0
    idle_s: int = 30
    wait_s: float = 300.0
    ping_s: float = 15.0
    connections: int = 4096
    streams: int = 1024
