"""The folder of keys: a file for each role of each tenant, the authority, and what the servers need.

``keys.json`` says which keys there are, by their public halves: so key files may be taken away to where they are used,
and the servers' configuration is still made whole.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from callboard.bus.credentials import Credentials, Role, make, stem
from callboard.deploy.keys import certificates, secret_file
from callboard.deploy.keys.accounts import User, accounts
from callboard.deploy.keys.certificates import Certificate
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

SERVER: Final = "server"
ROUTE_PORT: Final = 6222
EVERY_TENANT: Final[tuple[Role, ...]] = ("operator", "publisher", "router", "agents", "auditor")
TEMPLATES: Final = Path(__file__).parent.parent / "nats"
RECORD: Final = "keys.json"


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What `callboard keys` has made, for servers at ``hosts``: their folder lies ``at``, their data in ``store``."""

    hosts: tuple[str, ...]
    at: str
    store: str
    users: tuple[User, ...]


class Keys:
    """A folder of keys; ``now`` is the time of what is made in it."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.folder = folder
        self.now = now

    def record(self) -> Record:
        """What there is. Raises InvalidInput when the folder is none of keys."""
        file = self.folder / RECORD
        try:
            return msgspec.json.decode(file.read_bytes(), type=Record)
        except OSError as error:
            how = (
                f"{file}: can't be read ({error.strerror}): `callboard keys init {self.folder}` makes a folder of keys"
            )
            raise InvalidInput(how) from None
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"{file}: not what `callboard keys` wrote: {error}") from None

    def init(
        self, tenants: Sequence[str], backends: Sequence[str], hosts: Sequence[str], at: str | None, store: str
    ) -> None:
        """Make a new folder. Raises InvalidInput when there is one, and for names that can't be."""
        if (self.folder / RECORD).exists():
            raise InvalidInput(f"{self.folder} holds keys already: add-tenant and add-backend add to them")
        members = [(tenant, role, "") for tenant in tenants for role in EVERY_TENANT]
        members += [(tenant, "backend", each) for tenant in tenants for each in backends]
        _check(members)
        authority = certificates.authority(self.now)
        secret_file.write(self.folder / "ca.key", authority.key)
        (self.folder / "ca.pem").write_bytes(authority.certificate)
        where = at or str((self.folder / SERVER).absolute())
        self._save(Record(tuple(hosts), where, store, tuple(self._made(members))))
        self.certify()

    def add_tenant(self, tenant: str) -> list[User]:
        """Make the keys of a new tenant. Raises InvalidInput when there is one of that name."""
        record = self.record()
        if any(user.tenant == tenant for user in record.users):
            raise InvalidInput(f"there is a tenant {tenant!r} already: see `callboard keys list`")
        return self._add(record, [(tenant, role, "") for role in EVERY_TENANT])

    def add_backend(self, tenant: str, backend: str) -> list[User]:
        """Make the key of a new backend. Raises InvalidInput when there is one of that name, or no such tenant."""
        record = self.record()
        if self._of(record, tenant, stem("backend", backend), known=False):
            raise InvalidInput(
                f"tenant {tenant} has a key for the backend {backend!r}: `callboard keys rotate` renews it"
            )
        return self._add(record, [(tenant, "backend", backend)])

    def rotate(self, tenant: str, name: str, *, at_once: bool) -> User:
        """Make a new key of the role called ``name``, and return it; the old one stays valid unless ``at_once``."""
        record = self.record()
        old = self._of(record, tenant, name)
        [new] = self._made([(tenant, old[0].role, old[0].backend)])
        kept = [replace(user, replaced=True) if user in old else user for user in record.users]
        valid = [user for user in kept if not (at_once and _is_old(user, new))]
        self._save(replace(record, users=(*valid, new)))
        return new

    def revoke(self, tenant: str, name: str) -> list[User]:
        """Let the replaced keys of a role be valid no more, and return them. Raises InvalidInput if there are none."""
        record = self.record()
        old = [user for user in self._of(record, tenant, name) if user.replaced]
        if not old:
            raise InvalidInput(
                f"no key of {name} of {tenant} was replaced: `callboard keys rotate {name}` makes a new one"
            )
        self._save(replace(record, users=tuple(user for user in record.users if user not in old)))
        return old

    def certify(self) -> None:
        """Make a new certificate for the servers. Raises InvalidInput when the authority's key is not here."""
        try:
            authority = Certificate((self.folder / "ca.pem").read_bytes(), (self.folder / "ca.key").read_bytes())
        except OSError as error:
            raise InvalidInput(f"{error.filename}: {error.strerror}: the authority's key is needed for this") from None
        made = certificates.server(authority, self.record().hosts, self.now)
        secret_file.write(self.folder / SERVER / "server.key", made.key)
        (self.folder / SERVER / "server.pem").write_bytes(made.certificate)

    def tenant(self, given: str | None) -> str:
        """The tenant that is meant: the only one if none is said. Raises InvalidInput."""
        known = sorted({user.tenant for user in self.record().users})
        if given is None and len(known) == 1:
            return known[0]
        if given not in known:
            said = f"no tenant {given!r}" if given else "which tenant? Say --tenant"
            raise InvalidInput(f"{said} (there are: {', '.join(known)})")
        return given

    def file(self, user: User) -> Path:
        """Where the key of a user lies."""
        return self.folder / user.tenant / f"{user.stem}.key"

    def _of(self, record: Record, tenant: str, name: str, *, known: bool = True) -> list[User]:
        found = [user for user in record.users if user.tenant == tenant and user.stem == name]
        if known and not found:
            names = ", ".join(sorted({user.stem for user in record.users if user.tenant == tenant}))
            raise InvalidInput(f"no key of {name!r} in {tenant} (there are: {names})")
        return found

    def _add(self, record: Record, members: Sequence[tuple[str, Role, str]]) -> list[User]:
        _check(members)
        made = list(self._made(members))
        self._save(replace(record, users=(*record.users, *made)))
        return made

    def _made(self, members: Iterable[tuple[str, Role, str]]) -> Iterable[User]:
        """New keys, each in its file."""
        for tenant, role, backend in members:
            made = make(tenant, role, backend)
            user = User(tenant, role, backend, made.public, self.now.date().isoformat())
            secret_file.write(self.file(user), _document(made))
            yield user

    def _save(self, record: Record) -> None:
        """Write down which keys there are, and what the servers need to know of them: nothing secret."""
        server = self.folder / SERVER
        server.mkdir(mode=0o700, parents=True, exist_ok=True)
        (server / "ca.pem").write_bytes((self.folder / "ca.pem").read_bytes())
        routes = ", ".join(f'"tls://{host}:{ROUTE_PORT}"' for host in record.hosts)
        words = {"folder": record.at, "store": record.store, "routes": routes}
        for name, template in (("nats-server.conf", "server.conf"), ("cluster.conf", "cluster.conf")):
            text = Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
            (server / name).write_text(text, encoding="utf-8")
        (server / "accounts.conf").write_text(accounts(record.users), encoding="utf-8")
        (self.folder / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1))


def _is_old(user: User, new: User) -> bool:
    return user.replaced and (user.tenant, user.stem) == (new.tenant, new.stem)


def _check(members: Iterable[tuple[str, Role, str]]) -> None:
    for tenant, role, backend in members:
        checked_id(tenant, "tenant")
        if tenant == SERVER:
            raise InvalidInput(f"a tenant can't be called {SERVER}: the folder of that name is for the servers")
        if role == "backend":
            checked_id(backend, "backend")


def _document(made: Credentials) -> bytes:
    return msgspec.json.format(msgspec.json.encode(made), indent=1)
