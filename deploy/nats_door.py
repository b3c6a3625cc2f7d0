"""How a process comes in to a NATS server that wants to know who comes: from the settings and the environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from callboard.bus.credentials import pick, stem
from callboard.bus.door import Door
from callboard.deploy.settings import Nats
from callboard.events.errors import InvalidInput

CREDENTIALS_VARIABLE: Final = "CALLBOARD_NATS_CREDENTIALS"
CA_VARIABLE: Final = "CALLBOARD_NATS_CA"

CLIENT: Final = ("operator", "auditor")
AUDITOR: Final = ("auditor", "operator")
AGENTS: Final = ("agents", "operator")
OPERATOR: Final = ("operator",)
SUBMITTER: Final = ("operator", "publisher")
"""Whose key is taken of a folder of them: the first that is there."""


def door_of(nats: Nats, environ: Mapping[str, str], wanted: Sequence[str] = CLIENT) -> Door:
    """The key, of the ``wanted`` roles if there is a folder of them, and the authorities; the environment goes first.

    Raises InvalidInput: there is no such key, or it can't be used.
    """
    credentials = environ.get(CREDENTIALS_VARIABLE) or nats.credentials
    ca = environ.get(CA_VARIABLE) or nats.ca
    return Door(
        pick(Path(credentials).expanduser(), wanted) if credentials else None,
        Path(ca).expanduser() if ca else None,
    )


def backend_door(nats: Nats, environ: Mapping[str, str], name: str) -> Door:
    """The door of a process that makes the calls of one backend, beyond the gate. Raises InvalidInput as `door_of`."""
    return door_of(nats, environ, (stem("backend", name), "operator"))


def is_backends(nats: Nats, environ: Mapping[str, str], roles: Sequence[str]) -> bool:
    """Whether a process with these ``roles`` has the key of a backend alone, and so must work through the gate.

    Raises InvalidInput as `door_of`.
    """
    kind, _, name = roles[0].partition(":") if len(roles) == 1 else ("", "", "")
    if kind != "backend" or not nats.url:
        return False
    door = door_of(nats, environ, ("operator", stem("backend", name)))
    return door.credentials is not None and door.credentials.role == "backend"


def node_door(nats: Nats, environ: Mapping[str, str], roles: Sequence[str]) -> Door:
    """The door of a node with these ``roles``: a router alone comes with the router's key, if there is one.

    Raises InvalidInput as `door_of`, and for the key of a role that no node of these roles can work with.
    """
    alone = {*roles} == {"router"}
    door = door_of(nats, environ, ("router", "operator") if alone else ("operator",))
    if door.credentials and door.credentials.role != "operator" and not (alone and door.credentials.role == "router"):
        raise InvalidInput(
            f"this node can't work with the key of {door.credentials.holder}: it needs the operator's, or --role router"
            " alone the router's"
        )
    return door
