"""What can go wrong between an actor and the log.

BusError
├── Conflict      the entity has moved on: read it again and decide again
├── TooLarge      over the size limit: final, sending it again does not help
├── LogFull       the log refuses to grow: nothing was stored, nothing was evicted
├── NotFound      no such blob
├── Locked        a person's key can't be had here: the master key is missing, or is another
├── Forbidden     the server does not let this key do that
├── Unavailable   not reached in time: whether it was stored is not known
├── ReadOnly      it was tried to change the past
├── Damaged       the archive is not what was written
├── NotInstalled  what reads the archive is not installed
└── ServerError   the embedded server can't start
"""

from callboard.events.errors import CallboardError

WRONG_LAST_SEQUENCE = 10071
MESSAGE_TOO_LARGE = 10054
LOG_FULL = 10077
BATCH_TOO_LARGE = 10199


class BusError(CallboardError):
    """The log refused or can't be reached. ``code`` is JetStream's error code where there is one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Conflict(BusError):
    """Another writer appended to the entity first (code 10071); nothing of this write was stored."""


class TooLarge(BusError):
    """The message (10054) or the batch (10199) is over the limit; a retry does not help."""


class LogFull(BusError):
    """The stream is at its size limit or the disk is full (10077); nothing was stored and nothing evicted."""


class NotFound(BusError):
    """No blob has this hash."""


class Locked(BusError):
    """A person's key can't be had here. Nothing is lost: it goes on with the right master key, or the stream KEYS."""


class Forbidden(BusError):
    """The server does not let the key of this connection do that; nothing happened, and asking again does not help."""


class Unavailable(BusError):
    """No answer before the deadline. The write may or may not have been stored; the message says so."""


class ReadOnly(BusError):
    """Something that only replays the past tried to change something; nothing was changed."""


class ServerError(BusError):
    """The embedded nats-server can't start, or its data folder is taken."""


class Damaged(BusError):
    """The archive is not what was written; the message names the segment and, where it is known, the sequence."""


class NotInstalled(BusError):
    """A package that is optional is needed now; the message says how to install it."""
