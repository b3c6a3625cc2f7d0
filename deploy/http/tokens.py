"""Bearer tokens: who may do what over HTTP.

A token is 256 random bits, shown once. The file holds its SHA-256 alone, which is enough for what nobody can guess: who
reads the file can't use what is in it. The file is read anew whenever it has changed, and nobody is served while it
can't be read.
"""

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec
from msgspec import Struct

from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.ids import checked_id

PREFIX: Final = "cbt_"
"""How every token begins, so that one that was leaked is recognised."""

Scope = Literal["submit", "read", "cancel", "metrics", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


class TokensUnreadable(CallboardError):
    """The tokens file can't be read, so nobody can be let in."""


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a token. ``admin`` stands for all scopes; ``expires`` None is never."""

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    created: datetime
    expires: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it allows what ``scope`` is about."""
        return scope in self.scopes or "admin" in self.scopes

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[Token, ...] = ()


class TokensFile:
    """The tokens in ``path``; none while there is no such file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def all(self) -> tuple[Token, ...]:
        """Every token. Raises TokensUnreadable."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                if found.st_mode & 0o022:
                    raise TokensUnreadable(f"{self.path}: others may write to it: chmod 600 {self.path}")
                self._tokens = msgspec.json.decode(self.path.read_bytes(), type=_Document).tokens
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._tokens = None, ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._seen = None
            raise TokensUnreadable(f"{self.path}: can't be read as tokens: {error}") from error
        return self._tokens

    def find(self, secret: str) -> Token | None:
        """The token whose secret this is. Takes as long for any other. Raises TokensUnreadable."""
        digest, found = _digest(secret), None
        for token in self.all():
            if hmac.compare_digest(token.sha256.encode(), digest.encode()):
                found = token
        return found

    def create(self, name: str, scopes: tuple[Scope, ...], expires: datetime | None, at: datetime) -> tuple[str, Token]:
        """Add a token, and return its secret, which is kept nowhere.

        Raises:
            InvalidInput: the name is taken, or none of a token; or there is no scope.
            TokensUnreadable: the file can't be read or written.
        """
        checked_id(name, "token name")
        if not scopes:
            raise InvalidInput(f"token {name} would allow nothing: name at least one scope of {', '.join(SCOPES)}")
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name, _digest(secret), tuple(dict.fromkeys(scopes)), at, expires)
        with self._locked() as tokens:
            if any(each.name == name for each in tokens):
                raise InvalidInput(f"there is a token {name!r} already: revoke it first, or choose another name")
            self._write((*tokens, token))
        return secret, token

    def revoke(self, name: str) -> None:
        """Take a token away. Raises InvalidInput when there is none of that name, TokensUnreadable."""
        with self._locked() as tokens:
            left = tuple(each for each in tokens if each.name != name)
            if len(left) == len(tokens):
                raise InvalidInput(f"no token {name!r} in {self.path}: see `callboard tokens`")
            self._write(left)

    @contextmanager
    def _locked(self) -> Iterator[tuple[Token, ...]]:
        """The tokens, while nobody else changes them."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self.all()
        except OSError as error:
            raise TokensUnreadable(f"{self.path}: can't be written: {error.strerror}") from error

    def _write(self, tokens: tuple[Token, ...]) -> None:
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.unlink(missing_ok=True)
        data = msgspec.json.format(msgspec.json.encode(_Document(tokens)), indent=1)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data + b"\n")
            out.flush()
            os.fsync(out.fileno())
        beside.replace(self.path)


def now() -> datetime:
    """The time that expiry is measured by."""
    return datetime.now(UTC)


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
