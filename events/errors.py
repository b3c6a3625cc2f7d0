"""The error tree.

CallboardError
├── InvalidInput        what was sent is wrong: mend it, a retry does not help
│   ├── InvalidId       an id with a dot, a wildcard, or of the wrong length
│   └── Elsewhere       it belongs to another of several logs
├── IllegalTransition   the entity is not in a state that allows this
├── Clash               another changed the same thing since it was read
├── Fenced              another host works on the agent now
├── Early               what has to come before is not there yet
├── Forgotten           it was said of a person whose key was destroyed: nobody can read it any more
├── BudgetExceeded      the money asked for is not there
├── Undecodable         stored bytes that no version of the code can read
│   └── BrokenChain     a stored event does not follow the one before it
└── BusError            (callboard.bus.errors) the log refused, or can't be reached
"""


class CallboardError(Exception):
    """Root of every error that Callboard raises on purpose; its message is one line for a person."""


class InvalidInput(CallboardError):
    """What was sent is wrong. The message names the field and how to mend it."""


class InvalidId(InvalidInput):
    """An id that would break subject matching."""


class Elsewhere(InvalidInput):
    """What is asked for or told of belongs to a shard that another log holds."""


class IllegalTransition(CallboardError):
    """The entity's state does not allow the event; nothing was changed."""


class Clash(CallboardError):
    """Another changed the same ``keys`` of a context since they were read; nothing was changed. Read, decide again."""

    def __init__(self, message: str, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys


class Fenced(CallboardError):
    """Another host has taken over the agent; whatever this one still wants to say of it does not count."""


class Early(CallboardError):
    """What has to be said before this is not there yet; nothing was changed. It may be later."""


class Forgotten(CallboardError):
    """It was said of a person who has been forgotten: the key is destroyed, and nobody can read it any more."""

    def __init__(self, person: str) -> None:
        super().__init__(f"{person} has been forgotten: what was said can't be read any more")
        self.person = person


class BudgetExceeded(CallboardError):
    """A reservation asks for more than the budget has left."""


class Undecodable(CallboardError):
    """Stored bytes that cannot be read; never skipped, the entity is broken until mended."""


class BrokenChain(Undecodable):
    """A stored event does not carry the hash of the event before it: history was altered or lost."""
