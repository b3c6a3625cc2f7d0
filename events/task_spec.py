"""What a task is: what is asked for, what a decision about it records, why it failed."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, TypeAlias

from msgspec import Struct

from callboard.events.chat import Message, Tool


class Blob(Struct, frozen=True, gc=False, omit_defaults=True):
    """A value too large for an event: its SHA-256 (hex) in the blob store, its size in bytes, and what it is.

    If it is ``private``, that names whom it is about, and the blob store holds it encrypted; without a hash it stands
    for a value that only who has that person's key can read.
    """

    sha256: str
    size: int
    media: str = "text/plain"
    private: str = ""


Text: TypeAlias = str | Blob
Input: TypeAlias = str | Blob | tuple[Message, ...]


class Needs(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a backend must offer: every capability, a window of ``context`` tokens, every data policy."""

    capabilities: tuple[str, ...] = ("chat",)
    context: int | None = None
    data_policy: tuple[str, ...] = ()


NO_NEEDS: Final = Needs()


class Shown(Struct, frozen=True, gc=False, omit_defaults=True):
    """How much a task's context shows: measured when the task is accepted, so that nobody has to read it to route it.

    So many ``messages`` with so many ``calls`` of tools; all texts have so many ``characters``, and ``size`` bytes with
    ids. ``prefix`` are the marks of the whole prompt's beginnings. ``newest`` is how the newest text begins, of a task
    that has no input of its own.
    """

    messages: int = 0
    calls: int = 0
    characters: int = 0
    size: int = 0
    prefix: bytes = b""
    newest: str = ""


class TaskSpec(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is asked for.

    ``max_cost`` is in micro-dollars, ``min_quality`` in percent, ``priority`` from 0 (default) to 9 (first).
    ``tools`` are offered to the model; what it wants called is in the answer, and whoever asked calls it.
    ``policy`` names a routing policy and ``backend`` pins one, both instead of the router's own choice. ``check`` names
    what the policy ``cascade`` verifies answers with.
    ``context`` is what is read before ``input``: the conversation of a shared context, as ``plan@17``. Where that is
    asked for, ``plan`` is its newest version; when the task is accepted it is written down, and how much is ``shown``.
    ``key`` makes a submission idempotent: the same key is the same task. ``private`` names the person that it is about:
    what is asked and answered is kept encrypted, until that person is forgotten.
    """

    input: Input
    system: str | None = None
    needs: Needs = NO_NEEDS
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    tools: tuple[Tool, ...] = ()
    max_cost: int | None = None
    deadline: datetime | None = None
    not_before: datetime | None = None
    priority: int = 0
    min_quality: int | None = None
    policy: str | None = None
    check: str | None = None
    backend: str | None = None
    tags: tuple[str, ...] = ()
    budget: str | None = None
    context: str | None = None
    shown: Shown | None = None
    owner: str | None = None
    parent: str | None = None
    reply_to: str | None = None
    key: str | None = None
    private: str | None = None


FEATURE_SCALE: Final = 100
"""What stands for 1 in a decision's features."""

SHAPE_FEATURES: Final = 6
"""The last of a decision's features: what tells of a text as a whole, like its length."""


def newest_text(spec: TaskSpec) -> str | None:
    """What is asked: the input's text, or its last message's; None when it lies in the blob store.

    Of a task without input it is how the newest text of its context begins.
    """
    if isinstance(spec.input, Blob):
        return None
    if spec.shown is not None and not spec.input:
        return spec.shown.newest
    if isinstance(spec.input, str):
        return spec.input
    return spec.input[-1].content if spec.input else ""


class Candidate(Struct, frozen=True, gc=False, omit_defaults=True):
    """A backend as the router saw it, or why it was left out.

    Predicted ``cost`` in micro-dollars, ``latency`` in ns, ``quality`` in parts per million; ``cached`` are the tokens
    of the prompt that it has probably kept from earlier ones.
    """

    backend: str
    cost: int = 0
    latency: int = 0
    quality: int = 0
    excluded: str | None = None
    cached: int = 0


class Candidates(Struct, frozen=True, gc=False, omit_defaults=True):
    """All backends as the router saw them, by column: the ``backends`` that could do the task, and what was predicted.

    ``costs``, ``latencies`` and ``qualities`` are in their order, and so are ``cached``, unless nobody has kept any
    token. ``excluded`` is why each of the others was left out.
    """

    backends: tuple[str, ...] = ()
    costs: tuple[int, ...] = ()
    latencies: tuple[int, ...] = ()
    qualities: tuple[int, ...] = ()
    cached: tuple[int, ...] = ()
    excluded: dict[str, str] = {}

    @property
    def able(self) -> tuple[Candidate, ...]:
        """Those that could do it, one by one."""
        return tuple(map(self._at, range(len(self.backends))))

    def of(self, backend: str) -> Candidate | None:
        """The one of this name."""
        if backend in self.backends:
            return self._at(self.backends.index(backend))
        reason = self.excluded.get(backend)
        return None if reason is None else Candidate(backend, excluded=reason)

    def __iter__(self) -> Iterator[Candidate]:
        """All of them, those that could do it first."""
        yield from self.able
        for backend, reason in self.excluded.items():
            yield Candidate(backend, excluded=reason)

    def _at(self, place: int) -> Candidate:
        cached = self.cached[place] if self.cached else 0
        predicted = self.costs[place], self.latencies[place], self.qualities[place]
        return Candidate(self.backends[place], *predicted, None, cached)


class Decision(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a backend was chosen. ``seen`` is the log sequence the router's view stood at.

    ``propensity`` is the probability of this choice, in parts per million. ``features`` is what the task looked like to
    what the router learns: signed bytes, in hundredths; ``input`` are its prompt's tokens, ``prefix`` the marks of its
    prompt's beginnings, ``output`` the most tokens that its answer may have, 0 if it may have any number.

    A paced decision has a ``pace``, the micro-dollars that a task may cost on average, and says what a micro-dollar
    counted for (``money``, in parts per million), and whether that was ``solved`` for anew.
    """

    policy: str
    reason: str
    seen: int
    candidates: Candidates = Candidates()
    seed: int = 0
    propensity: int = 1_000_000
    features: bytes = b""
    input: int = 0
    pace: int = 0
    money: int = 1_000_000
    solved: bool = False
    prefix: bytes = b""
    output: int = 0


class Hold(Struct, frozen=True, gc=False, omit_defaults=True):
    """The money that one call may cost at most, taken from a lease of ``budget``; a free call needs no lease.

    ``amount`` in micro-dollars covers ``input`` tokens, which the prompt can't exceed, and ``output`` tokens, which is
    all that the model is allowed to write.
    """

    budget: str
    amount: int
    input: int
    output: int
    lease: str = ""


class Failure(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why a call did not end in an answer; ``kind`` is a provider's failure kind."""

    kind: str
    message: str
    retry_after: int | None = None
