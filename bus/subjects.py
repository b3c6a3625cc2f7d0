"""Subjects: ``evt.<shard>.<kind>.<id>.<type>[.<addressee>[.<priority>]]`` on the log, and the few beside it.

An addressee is an id, or a role with a ``+`` before it, which no id holds.
"""

from typing import Final, NamedTuple

from callboard.events.errors import Undecodable
from callboard.events.ids import checked_id, shard_of

ALL_EVENTS: Final = "evt.>"
SUBMIT: Final = "submit.task"
SUBMIT_SCORE: Final = "submit.score"
SUBMIT_APPROVAL: Final = "submit.approval"
SUBMIT_MESSAGE: Final = "submit.message"
TAKERS: Final = {
    SUBMIT: "intake",
    SUBMIT_SCORE: "scores",
    SUBMIT_APPROVAL: "approval-desk",
    SUBMIT_MESSAGE: "message-desk",
}
"""The queue of each subject that anybody may publish to."""

TIMER_FIRED: Final = "timer.fired"
ALL_HEARTBEATS: Final = "hb.>"
ALL_HOSTS: Final = "host.*"
SNAPSHOT_NOW: Final = "ask.snapshot"
"""Where a snapshot of what is live is asked for."""
TIMER_DESK: Final = "ask.timer"
"""Where those have timers set who may not do so themselves."""
FORGET: Final = "forget.*"
OURS: Final = "tenant."
"""What begins the names of the tenant's JetStream requests in a role's own account."""
ANSWER: Final = "answer"
"""Below it lies, for who lives in an account of its own, the subject in the tenant's account that is answered on."""


class Address(NamedTuple):
    """The parts of an event's subject; ``addressee`` is who must act on it, and with what priority, if anybody."""

    shard: int
    kind: str
    id: str
    type: str
    addressee: tuple[str, ...]


def entity(kind: str, entity_id: str) -> str:
    """The subject prefix of one entity: ``evt.<shard>.<kind>.<id>``."""
    return f"evt.{shard_of(entity_id)}.{kind}.{checked_id(entity_id, kind)}"


def event(kind: str, entity_id: str, event_type: str, addressee: tuple[str, ...] = ()) -> str:
    """The subject of one event; ``addressee`` as in `Address`."""
    for part in addressee:
        checked_id(part.removeprefix("+"), "addressee")
    return ".".join((entity(kind, entity_id), event_type, *addressee))


def entity_of(subject: str) -> str:
    """The entity's prefix of an event's subject."""
    return ".".join(subject.split(".", 4)[:4])


def parse(subject: str) -> Address:
    """Take an event's subject apart. Raises Undecodable for any other subject."""
    parts = subject.split(".")
    if parts[0] != "evt" or not 5 <= len(parts) <= 7 or not parts[1].isdigit():
        raise Undecodable(f"{subject!r} is not the subject of an event")
    return Address(int(parts[1]), parts[2], parts[3], parts[4], tuple(parts[5:]))


def checkpoint(size: int | None) -> str:
    """Where the checkpoint of the first ``size`` messages is; None for all of them."""
    return "checkpoint.*" if size is None else f"checkpoint.{size}"


def heartbeat(backend: str, replica: str) -> str:
    """Where a replica tells of its calls under way; not stored."""
    return f"hb.{backend}.{replica}"


def wanted(kind: str, entity_id: str) -> str:
    """Where it is told that somebody came too late to change an entity; not stored."""
    return f"want.{kind}.{entity_id}"


def tokens(task_id: str) -> str:
    """Where a task's text is streamed as it is written; not stored."""
    return f"tok.{task_id}"


def gate_door(backend: str) -> str:
    """Where a backend beyond the gate looks for a gate; not stored."""
    return f"gate.{backend}.hello"


def gate_desk(backend: str, gate: str, caller: str = "*") -> str:
    """Where one process of a backend talks to the gate that it found; not stored."""
    return f"gate.{backend}.{gate}.{caller}"


def told(backend: str, caller: str) -> str:
    """Where a process of a backend is told something by gates; not stored."""
    return f"told.{backend}.{caller}"


def host(host_id: str) -> str:
    """Where a host of agents tells that it is there; not stored."""
    return f"host.{host_id}"


def forgets(person: str) -> str:
    """Where it is told that a person's key is destroyed; not stored."""
    return f"forget.{person}"
