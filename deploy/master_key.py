"""The master key, under which the keys of persons are encrypted: from the environment, from a file, or made here.

A node with a server of its own needs none: it makes one on first use, in its data folder, as a file that only its
user can read. Whoever has the data folder has all of it then; a key that is kept elsewhere is safer.
"""

import binascii
import os
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from callboard.bus.cipher import KEY, new_key
from callboard.bus.errors import Locked
from callboard.bus.keyring import Master
from callboard.deploy.settings import Privacy

FILE: Final = "privacy.key"
"""The key file's name in a data folder."""

_HOW: Final = "a master key is 32 bytes, as 64 hex digits or in base64: openssl rand -hex 32 makes one"


def master_of(privacy: Privacy, folder: Path | None, environ: Mapping[str, str]) -> Master:
    """Gives the master key when it is first asked for.

    Args:
        privacy: the settings.
        folder: the data folder whose server is used; None for a server elsewhere, which others use too.
        environ: the environment.
    """
    known: list[bytes] = []

    def master(*, new: bool = False) -> bytes:
        if not known:
            known.append(_master(privacy, folder, environ, new=new))
        return known[0]

    return master


def _master(privacy: Privacy, folder: Path | None, environ: Mapping[str, str], *, new: bool) -> bytes:
    variable = privacy.master_key_env
    if said := environ.get(variable, "").strip():
        return _read(said, f"the environment variable {variable}")
    if variable != Privacy().master_key_env:
        raise Locked(f"no master key: {variable}, which [privacy] master_key_env names, is not set; {_HOW}")
    if privacy.master_key_file:
        return _from_file(Path(privacy.master_key_file).expanduser(), "[privacy] master_key_file")
    if folder is None:
        raise Locked(f"no master key: set {variable} here and wherever this server is used; {_HOW}")
    path = folder / FILE
    if new:
        _make(path)
    if not path.exists():
        raise Locked(f"no master key: {path} is gone; put it back, or set {variable}")
    return _from_file(path, "the key file")


def _make(path: Path) -> None:
    """Write a new key, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(file, "w", encoding="ascii") as text:
        text.write(f"{new_key().hex()}\n")
        text.flush()
        os.fsync(text.fileno())


def _from_file(path: Path, what: str) -> bytes:
    try:
        return _read(path.read_text(encoding="ascii").strip(), f"{what} {path}")
    except (OSError, UnicodeDecodeError) as error:
        raise Locked(f"no master key: {what} {path} can't be read: {error}") from None


def _read(said: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(said) if len(said) == 2 * KEY else b64decode(said, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY:
        raise Locked(f"{where} holds no master key: {_HOW}")
    return key
