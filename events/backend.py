"""A backend: one model endpoint that can be scaled on its own. What can happen to it, and its state.

The rules, kept by `decide`:

- It is registered before anything else; registering it again with another description replaces it.
- A drained backend gets no new work until it is resumed. A removed one can be registered anew.
- A number of replicas that is ``held`` is nobody's to change by load, until it is given back, or scaling by load is set
  up where there was none.
- The breaker goes closed → open → half-open → closed (or open again); opening an open one only moves its end.
- While it is half open, one task's call tries the backend: whoever wins the append of ``half_opened``. Another may take
  its place when that task is no longer with the backend.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Struct

from callboard.events.errors import IllegalTransition
from callboard.events.money import Price
from callboard.events.scaling import Demand, Scaling

MOST_REPLICAS: Final = 10_000
"""Of one backend: more is a slip of the finger, and would take a node's memory."""


class BackendSpec(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a backend is. ``context`` is its window in tokens; ``rpm`` and ``tpm`` are the endpoint's limits a minute.

    ``concurrency`` is the number of calls one replica makes at a time. ``provider`` says what answers: ``openai``,
    ``anthropic`` or ``callable`` (a Python function, which no one should take for a model). With ``scaling`` its
    replicas follow its load.
    """

    provider: Literal["openai", "anthropic", "callable"]
    model: str
    url: str = ""
    capabilities: tuple[str, ...] = ("chat",)
    context: int = 8192
    data_policy: tuple[str, ...] = ()
    tier: Literal["small", "medium", "frontier"] = "medium"
    concurrency: int = 8
    rpm: int | None = None
    tpm: int | None = None
    scaling: Scaling | None = None


class Registered(Struct, frozen=True, gc=False, omit_defaults=True):
    """It exists, as described."""

    type: ClassVar[str] = "callboard.backend.registered.v1"
    spec: BackendSpec


class Priced(Struct, frozen=True, gc=False, omit_defaults=True):
    """What it costs from now on."""

    type: ClassVar[str] = "callboard.backend.priced.v1"
    price: Price


class Scaled(Struct, frozen=True, gc=False, omit_defaults=True):
    """How many replicas there should be from now on, and why.

    ``held`` says that this is not to change by load; ``demand`` is what it was decided on, if it was by load.
    """

    type: ClassVar[str] = "callboard.backend.scaled.v1"
    replicas: int
    reason: str = ""
    held: bool = False
    demand: Demand | None = None


class Drained(Struct, frozen=True, gc=False, omit_defaults=True):
    """No new work for it, please."""

    type: ClassVar[str] = "callboard.backend.drained.v1"
    reason: str = ""


class Resumed(Struct, frozen=True, gc=False, omit_defaults=True):
    """It takes work again."""

    type: ClassVar[str] = "callboard.backend.resumed.v1"


class Opened(Struct, frozen=True, gc=False, omit_defaults=True):
    """Its breaker opened: leave it alone until then. ``evicts`` takes also the tasks away that it has."""

    type: ClassVar[str] = "callboard.backend.opened.v1"
    reason: str
    until: datetime
    evicts: bool = False


class HalfOpened(Struct, frozen=True, gc=False, omit_defaults=True):
    """One call may try whether it is well again: that of ``task``."""

    type: ClassVar[str] = "callboard.backend.half_opened.v1"
    task: str = ""


class Closed(Struct, frozen=True, gc=False, omit_defaults=True):
    """It is well again."""

    type: ClassVar[str] = "callboard.backend.closed.v1"


class Removed(Struct, frozen=True, gc=False, omit_defaults=True):
    """It is gone."""

    type: ClassVar[str] = "callboard.backend.removed.v1"


BackendEvent: TypeAlias = Registered | Priced | Scaled | Drained | Resumed | Opened | HalfOpened | Closed | Removed


class Breaker(StrEnum):
    """Whether calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


MAY_FOLLOW: Final[dict[type[BackendEvent], frozenset[Breaker]]] = {
    Opened: frozenset(Breaker),
    HalfOpened: frozenset({Breaker.OPEN, Breaker.HALF_OPEN}),
    Closed: frozenset({Breaker.OPEN, Breaker.HALF_OPEN}),
}


class Backend(Struct, frozen=True, gc=False):
    """A backend's state; ``spec`` is None while it is not registered.

    ``probe`` is the task whose call tries it while its breaker is half open. ``evicted`` says that the open breaker
    took its tasks away. ``openings`` counts how often the breaker opened since it was last closed.

    ``replicas_reason`` says why there are so many ``replicas``, and ``held`` that load does not change that. By load
    they were last changed at ``scaled_at``, and raised at ``raised_at``.
    """

    id: str
    spec: BackendSpec | None = None
    price: Price = Price()
    replicas: int = 1
    draining: bool = False
    breaker: Breaker = Breaker.CLOSED
    until: datetime | None = None
    reason: str = ""
    probe: str = ""
    evicted: bool = False
    openings: int = 0
    replicas_reason: str = ""
    held: bool = False
    scaled_at: datetime | None = None
    raised_at: datetime | None = None

    @property
    def may_start(self) -> bool:
        """Whether it has no replicas because it had nothing to do, so that it gets one when there is work."""
        return self.replicas == 0 and not self.held and self.spec is not None and self.spec.scaling is not None


def decide(backend: Backend, wish: BackendEvent) -> list[BackendEvent]:
    """What the log should say when an actor wants to say ``wish``; ``[]`` when nothing would change."""
    if backend.spec is None and not isinstance(wish, Registered):
        raise IllegalTransition(f"backend {backend.id} is not registered")
    if isinstance(wish, Scaled) and not 0 <= wish.replicas <= MOST_REPLICAS:
        raise IllegalTransition(f"backend {backend.id} can't have {wish.replicas:,} replicas: use 0 to {MOST_REPLICAS}")
    if backend.breaker not in MAY_FOLLOW.get(type(wish), frozenset(Breaker)):
        if isinstance(wish, HalfOpened | Closed):
            return []
        raise IllegalTransition(f"the breaker of backend {backend.id} is {backend.breaker}")
    return [] if _unchanged(backend, wish) else [wish]


def evolve(backend: Backend, event: BackendEvent) -> Backend:
    """The state after ``event``."""
    replace = msgspec.structs.replace
    match event:
        case Registered():
            new = event.spec.scaling is not None and (backend.spec is None or backend.spec.scaling is None)
            return replace(backend, spec=event.spec, held=backend.held and not new)
        case Priced():
            return replace(backend, price=event.price)
        case Scaled():
            return _scaled(backend, event)
        case Drained():
            return replace(backend, draining=True, reason=event.reason)
        case Resumed():
            return replace(backend, draining=False, reason="")
        case Opened():
            return replace(
                backend,
                breaker=Breaker.OPEN,
                until=event.until,
                reason=event.reason,
                probe="",
                evicted=event.evicts,
                openings=backend.openings + (backend.breaker is not Breaker.OPEN),
            )
        case HalfOpened():
            return replace(backend, breaker=Breaker.HALF_OPEN, probe=event.task, evicted=False)
        case Closed():
            return replace(backend, breaker=Breaker.CLOSED, until=None, reason="", probe="", evicted=False, openings=0)
        case Removed():
            return Backend(backend.id)
        case _:
            assert_never(event)


def _scaled(backend: Backend, event: Scaled) -> Backend:
    at = event.demand.at if event.demand else None
    return msgspec.structs.replace(
        backend,
        replicas=event.replicas,
        replicas_reason=event.reason,
        held=event.held,
        scaled_at=at,
        raised_at=at if at is None or event.replicas > backend.replicas else backend.raised_at,
    )


def _unchanged(backend: Backend, wish: BackendEvent) -> bool:
    return evolve(backend, wish) == backend
