"""Credentials: who a process is for NATS. A key file is JSON, for its owner alone to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from callboard.bus import nkeys
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

Role: TypeAlias = Literal["operator", "publisher", "router", "backend", "agents", "auditor"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_OTHERS: Final = 0o077


class Credentials(Struct, frozen=True, forbid_unknown_fields=True):
    """The key of a ``role`` in a ``tenant``, ``backend`` is whose it is if the role is that; ``seed`` is the secret."""

    tenant: str
    role: Role
    backend: str
    public: str
    seed: str

    @property
    def holder(self) -> str:
        """Who has the key, for people: ``role publisher of acme``."""
        return f"role {stem(self.role, self.backend)} of {self.tenant}"

    def __repr__(self) -> str:
        return f"Credentials({self.holder}, {self.public})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("holder", self.holder), ("public", self.public)]


def make(tenant: str, role: Role, backend: str = "") -> Credentials:
    """Credentials with a new key."""
    seed = nkeys.new_seed()
    return Credentials(tenant, role, backend, nkeys.public_of(seed), seed)


def stem(role: Role, backend: str = "") -> str:
    """How a role is called where backends have to be told apart: the name of its file without ``.key``."""
    return f"{role}-{backend}" if backend else role


def inbox(public: str) -> str:
    """Below which subject the holder of a key gets answers, who alone may listen there."""
    return f"_INBOX.{public[1:17]}"


def read(path: Path) -> Credentials:
    """The credentials in a key file.

    Raises InvalidInput: it can't be read, is none, or others may read it.
    """
    try:
        data = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInput(f"{path}: the NATS key can't be read: {error.strerror}") from None
    if mode & _OTHERS:
        raise InvalidInput(f"{path}: others may read this NATS key: chmod 600 {path}, and have it replaced")
    try:
        found = msgspec.json.decode(data, type=Credentials)
        public = nkeys.public_of(found.seed)
        checked_id(found.tenant, "tenant")
        if found.backend or found.role == "backend":
            checked_id(found.backend, "backend")
    except (msgspec.MsgspecError, InvalidInput):  # what they say could hold a part of the secret
        raise InvalidInput(f"{path}: not a NATS key as `callboard keys` makes them") from None
    if public != found.public:
        raise InvalidInput(f"{path}: its public key is not that of its seed: the file was changed")
    return found


def pick(path: Path, wanted: Sequence[str]) -> Credentials:
    """The credentials in a file, or the first of the ``wanted`` stems that there is a file for in a folder.

    Raises InvalidInput as `read`, and when a folder has no such file.
    """
    if not path.is_dir():
        return read(path)
    for name in wanted:
        if (file := path / f"{name}.key").exists():
            return read(file)
    found = ", ".join(sorted(file.stem for file in path.glob("*.key"))) or "none"
    raise InvalidInput(f"{path}: no NATS key of {' or '.join(wanted)} here (there are: {found})")
