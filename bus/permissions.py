"""What each role may do on NATS, written once: `callboard keys` makes the server's configuration of it.

An operator has a tenant's account to itself: streams, queues, all subjects. Every other role lives in an account of
its own, and only what stands here is let through. So what such a role publishes beyond it reaches nobody, and it can't
name a subject of the tenant's account as the one to reply to: nats-server answers JetStream requests wherever it is
told to, whoever may publish there, and would so write into the log for anybody who may read it.
"""

from typing import Final, NamedTuple

from callboard.bus.credentials import Credentials, Role, inbox
from callboard.bus.filters import Filter
from callboard.bus.stream_names import BLOBS, CHECKPOINTS, EVENTS, KEYS, SNAPSHOTS
from callboard.bus.subjects import (
    ALL_EVENTS,
    ALL_HEARTBEATS,
    ALL_HOSTS,
    ANSWER,
    FORGET,
    OURS,
    SNAPSHOT_NOW,
    TAKERS,
    TIMER_DESK,
    tokens,
    wanted,
)

REPLIES: Final = ("_INBOX.>", "_R_.>")
"""Where those hear the answer who ask something of a tenant's actors: in its account, or through another."""


class Grant(NamedTuple):
    """What a role other than the operator may do.

    ``asks`` are the subjects that it may publish on, where one answer may come; ``reads`` those where many come.
    ``hears`` may be subscribed to, besides the inbox. Who ``answers`` may publish to who waits for an answer, below
    `ANSWER`; who is ``told`` may wait for such answers, beside those to its own requests.
    """

    asks: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    hears: tuple[str, ...] = ()
    answers: bool = False
    told: bool = False

    @property
    def publishes(self) -> tuple[str, ...]:
        """All that may be published on, as it is called in the role's own account."""
        return (*map(called, (*self.asks, *self.reads)), *((f"{ANSWER}.>",) if self.answers else ()))


def called(subject: str) -> str:
    """What a tenant's subject is called in a role's own account, where ``$JS.API`` is that account's JetStream."""
    return f"{OURS}{subject}" if subject.startswith("$JS.API.") else subject


def _gets(*streams: str) -> tuple[str, ...]:
    """Direct gets: by sequence or many at a time, and the last of a subject."""
    return tuple(f"$JS.API.DIRECT.GET.{stream}{more}" for stream in streams for more in ("", ".>"))


def _looks(*streams: str) -> tuple[str, ...]:
    """How a stream stands, and messages of it as its leader has them."""
    return tuple(f"$JS.API.STREAM.{verb}.{stream}" for stream in streams for verb in ("INFO", "MSG.GET"))


def _appends(kind: str, *types: str, addressed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Events of these types; those that are ``addressed`` name who must act on them."""
    return (
        *(f"evt.*.{kind}.*.{each}" for each in types),
        *(f"evt.*.{kind}.*.{each}.>" for each in addressed),
    )


def _takes(queue: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """To take from a durable queue of the log, as ``asks`` and ``reads``: neither to make it nor to change it."""
    asks = (f"$JS.API.CONSUMER.INFO.{EVENTS}.{queue}", f"$JS.ACK.{EVENTS}.{queue}.>")
    return asks, (f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{queue}",)


ROUTER_QUEUE: Final = "router"
MAIL_QUEUE: Final = "mail"
MAIL_ABROAD_QUEUE: Final = "mail-abroad"

_ROUTES = _takes(ROUTER_QUEUE)
_MAIL = _takes(MAIL_QUEUE)
_MAIL_ABROAD = _takes(MAIL_ABROAD_QUEUE)
_SEES = _looks(EVENTS, BLOBS, SNAPSHOTS)
_READS = _gets(EVENTS, BLOBS, SNAPSHOTS)
_OPENS = (f"$JS.API.STREAM.MSG.GET.{KEYS}",)
"""The keys of persons, which are of no use without the master key."""

_GRANTS: Final[dict[Role, Grant]] = {
    "publisher": Grant(asks=tuple(TAKERS)),
    "auditor": Grant(
        asks=(*_SEES, *_looks(CHECKPOINTS), SNAPSHOT_NOW),
        reads=_gets(EVENTS, BLOBS, SNAPSHOTS, CHECKPOINTS),
        hears=(ALL_EVENTS,),
    ),
    "router": Grant(
        asks=(
            *_SEES,
            *_OPENS,
            *_ROUTES[0],
            *_appends(
                "task",
                *("rejected", "expired", "dead_lettered", "parked", "advised", "completed", "evaluated"),
                addressed=("submitted", "released", "declined", "assigned", "hedged"),
            ),
            *_appends("backend", "opened"),
            *_appends("budget", "reserved", "sealed", "settled", "refunded", "breached"),
            TIMER_DESK,
        ),
        reads=(*_READS, *_ROUTES[1]),
        hears=(ALL_EVENTS, ALL_HEARTBEATS, FORGET),
        answers=True,
    ),
    "agents": Grant(
        asks=(
            *_SEES,
            *_OPENS,
            *_MAIL[0],
            *_MAIL_ABROAD[0],
            "evt.*.agent.>",
            *_appends("task", "rejected", "cancelled", addressed=("submitted",)),
            *_appends("context", "changed", "compacted", "forked", "merged"),
            *_appends("approval", "requested", "superseded"),
            *_appends("schedule", "planned", "removed"),
            *_appends("budget", "granted"),
            TIMER_DESK,
            "blob.>",
            ALL_HOSTS,
            wanted("*", "*"),
        ),
        reads=(*_READS, *_MAIL[1], *_MAIL_ABROAD[1]),
        hears=(ALL_EVENTS, ALL_HOSTS, FORGET, wanted("*", "*"), tokens("*")),
        answers=True,
        told=True,
    ),
}


def grant(role: Role, backend: str = "") -> Grant | None:
    """What a role may do; None for an operator, who may do everything in its tenant's account."""
    if role == "backend":
        return Grant(
            asks=(f"gate.{backend}.>",),
            hears=(f"told.{backend}.>",),
        )
    return _GRANTS.get(role)


def lives_apart(who: Credentials | None) -> bool:
    """Whether the holder of a key lives in an account of its own."""
    return who is not None and grant(who.role, who.backend) is not None


def may_publish(who: Credentials | None, subject: str) -> bool:
    """Whether the holder of a key may publish on a subject; without a key the server alone knows, and it is tried."""
    granted = grant(who.role, who.backend) if who else None
    return granted is None or called(subject) in Filter(granted.publishes)


def subscribes(granted: Grant, public: str) -> tuple[str, ...]:
    """All that the holder of a public key may subscribe to."""
    return (*granted.hears, f"{inbox(public)}.>")
