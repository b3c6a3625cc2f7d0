"""What came of an export."""

from msgspec import Struct


class Summary(Struct):
    """How much was exported: ``count`` events or spans, up to and including the log sequence ``last``.

    ``skipped`` spans were there already; ``unreadable`` messages are no events, and left out.
    """

    format: str
    to: str
    count: int = 0
    skipped: int = 0
    unreadable: int = 0
    last: int = 0
