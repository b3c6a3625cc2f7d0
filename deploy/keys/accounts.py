"""The accounts of nats-server, as text: who there is, and what is let through from one account to another.

Pure. The rules are `callboard.bus.permissions`; here they are only spelled.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from callboard.bus.credentials import Role, inbox, stem
from callboard.bus.permissions import REPLIES, Grant, called, grant, subscribes
from callboard.bus.subjects import ANSWER, TAKERS

_LATE_ANSWER: Final = "24h"
"""So long the way back is kept for the answer to a submission, which comes when the task is done."""


class User(Struct, frozen=True):
    """The public half of a key. ``made`` is its day; one that was ``replaced`` is good until it is revoked."""

    tenant: str
    role: Role
    backend: str
    public: str
    made: str
    replaced: bool = False

    @property
    def stem(self) -> str:
        """The role, and which backend's."""
        return stem(self.role, self.backend)


def accounts(users: Iterable[User]) -> str:
    """The block ``accounts`` of a server's configuration."""
    by_tenant: defaultdict[str, list[User]] = defaultdict(list)
    for user in users:
        by_tenant[user.tenant].append(user)
    lines = ["# Made by `callboard keys`, which writes it anew: change nothing here.", "accounts {"]
    for tenant, members in by_tenant.items():
        lines += [f"  {each}" for each in _tenant(tenant, members)]
    return "\n".join([*lines, "}", ""])


def _tenant(tenant: str, members: Sequence[User]) -> list[str]:
    rooms: defaultdict[str, list[User]] = defaultdict(list)
    for user in members:
        rooms[user.stem].append(user)
    exports: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    narrowed: list[str] = []
    for name, holders in rooms.items():
        granted = grant(holders[0].role, holders[0].backend)
        if granted is None:
            continue
        imports = _imports(granted, holders)
        for kind, subject, _ in imports:
            exports[kind, subject].append(f"{tenant}/{name}")
        narrowed += _room(tenant, name, granted, holders, imports)
    operators = [user for user in members if grant(user.role, user.backend) is None]
    return [
        f"{_quoted(tenant)} {{",
        "  jetstream: enabled",
        *_list("users", (f"{{nkey: {user.public}}}" for user in operators)),
        *_list("exports", (_export(*which, rooms) for which, rooms in exports.items())),
        "}",
        *narrowed,
    ]


def _imports(granted: Grant, holders: Sequence[User]) -> list[tuple[str, str, str]]:
    """What is let through, as kind, subject, and what it is called on this side."""
    found = [("service", subject, called(subject)) for subject in granted.asks]
    found += [("services", subject, called(subject)) for subject in granted.reads]
    found += [("stream", subject, subject) for subject in granted.hears]
    if granted.answers:
        found += [("service", subject, f"{ANSWER}.{subject}") for subject in REPLIES]
    if granted.told:
        found += [("stream", heard := f"{inbox(user.public)}.>", heard) for user in holders]
    return found


def _room(
    tenant: str, name: str, granted: Grant, holders: Sequence[User], imports: Sequence[tuple[str, str, str]]
) -> list[str]:
    """The account that a role has to itself, beside that of its tenant."""
    publish = _quoted(list(granted.publishes))
    return [
        f"{_quoted(f'{tenant}/{name}')} {{",
        *_list(
            "users",
            (
                f"{{nkey: {user.public}, permissions: {{publish: {{allow: {publish}}}, "
                f"subscribe: {{allow: {_quoted(list(subscribes(granted, user.public)))}}}}}}}"
                for user in holders
            ),
        ),
        *_list("imports", (_import(tenant, *each) for each in imports)),
        "}",
    ]


def _export(kind: str, subject: str, rooms: Sequence[str]) -> str:
    more = ", response_type: stream" if kind == "services" else ""
    if subject in TAKERS:
        more = f", response_threshold: {_quoted(_LATE_ANSWER)}"
    return f"{{{kind.removesuffix('s')}: {_quoted(subject)}{more}, accounts: {_quoted(list(rooms))}}}"


def _import(tenant: str, kind: str, subject: str, here: str) -> str:
    to = f", to: {_quoted(here)}" if here != subject else ""
    return f"{{{kind.removesuffix('s')}: {{account: {_quoted(tenant)}, subject: {_quoted(subject)}}}{to}}}"


def _list(name: str, items: Iterable[str]) -> list[str]:
    return [f"  {name}: [", *(f"    {item}" for item in items), "  ]"]


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value)
