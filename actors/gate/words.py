"""What the gate and a backend beyond it say to each other, as MessagePack on plain NATS.

A backend publishes to ``gate.<name>.>`` and hears ``told.<name>.>``; that is all that its key allows, so its name in a
subject is as good as a signature. Messages may be lost, come twice, or be anything at all: each side says again what
was not answered, takes nothing twice, and refuses what it can't read.

    backend                                   gate
    Hello    to all gates, every half second  Welcome   from those that have room
    Here     to the first that answers        Heard     both every half second, as long as they are there
    ...                                       Make      a call, which is in the log as ``started``
    Said     the text as it comes             Stop      nobody wants it any more
    Answered, Unanswered                      Settled   what came of it is in the log
                                              Closing   find another gate, or go: nothing of yours is open here
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from callboard.actors.backend.providers.provider import Answer, FailureKind, Request
from callboard.events.chat import Usage
from callboard.events.errors import CallboardError

BEAT_S: Final = 0.5
SILENT_S: Final = 3.0
"""Who says nothing for so long is gone."""

GATHER_S: Final = 0.02
"""What a model says within this time is told together, but for the first word."""

RESEND_S: Final = 2.0
"""After how long an answer is given again that is not settled."""

PART: Final = 512 * 1024
"""Bytes of a message; NATS servers take 1 MiB as they come. What is larger goes in parts."""

MAX_ANSWER: Final = 8 * 1024 * 1024
MAX_REQUEST: Final = 256 * 1024 * 1024
MAX_CALLS: Final = 2048
"""Calls of one process at a time."""

Id: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,80}\Z")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**31)]
Nanoseconds: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]


class Unreadable(CallboardError):
    """A message that is no word of this protocol, or is too large."""


class Hello(Struct, frozen=True, tag="hello"):
    """A process that makes a backend's calls looks for a gate; it chose the name ``caller``."""

    caller: Id


class Here(Struct, frozen=True, tag="here", omit_defaults=True):
    """It is there, takes ``slots`` calls at a time (0: as many as the backend is registered with), and has ``calls``.

    A call is there until it is settled or stopped. ``leaving``: it takes no more, and ends when it has none.
    """

    slots: Count = 0
    calls: Annotated[tuple[Id, ...], Meta(max_length=MAX_CALLS)] = ()
    leaving: bool = False


class Said(Struct, frozen=True, tag="said"):
    """Text of a call's answer, from its character ``at`` on."""

    call: Id
    at: Count
    text: str


class Answered(Struct, frozen=True, tag="answered"):
    """The end of a call."""

    call: Id
    answer: Answer


class Unanswered(Struct, frozen=True, tag="unanswered", omit_defaults=True):
    """The end of a call that failed; as a ``ProviderError``."""

    call: Id
    kind: FailureKind
    message: str
    retry_after: Nanoseconds | None = None
    usage: Usage = Usage()


class Part(Struct, frozen=True, tag="part"):
    """A piece of a word that is larger than a message may be."""

    word: Id
    number: Count
    count: Count
    data: bytes


class Welcome(Struct, frozen=True, tag="welcome"):
    """A gate has room."""

    gate: Id


class Heard(Struct, frozen=True, tag="heard"):
    """The gate is there."""


class Make(Struct, frozen=True, tag="make", omit_defaults=True):
    """A call to make, once, whatever comes of it; ``request.call_id`` names it.

    ``private``: it is about a person, so that no log line may quote it.
    """

    request: Request
    private: bool = False


class Stop(Struct, frozen=True, tag="stop"):
    """Nobody wants the call's answer any more; what it cost so far is booked."""

    call: Id


class Settled(Struct, frozen=True, tag="settled"):
    """What came of the call is in the log."""

    call: Id


class Refused(Struct, frozen=True, tag="refused", omit_defaults=True):
    """Something that was said is not taken, and why; if it was the end of ``call``, it never will be."""

    why: str
    call: Id | None = None


class Closing(Struct, frozen=True, tag="closing"):
    """The gate has nothing open with this process any more, and takes nothing from it."""


Ending: TypeAlias = Answered | Unanswered
ByBackend: TypeAlias = Hello | Here | Said | Answered | Unanswered
ByGate: TypeAlias = Welcome | Heard | Make | Stop | Settled | Refused | Closing
