"""The key that checkpoints are signed with: an Ed25519 key in a PEM file, and its public half beside it.

Who holds the key can make checkpoints of a log that never was. So it is no proof against the one who runs the node:
against that, keep a copy of a head elsewhere (`callboard audit --json`), and give it to `callboard audit --since`.
"""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from callboard.events.errors import InvalidInput


def public_file(private: Path) -> Path:
    """Where the public half of a key file is: ``audit.pub`` beside ``audit.key``."""
    return private.with_suffix(".pub")


def signing_key(file: Path) -> Ed25519PrivateKey:
    """The key in ``file``; it is made, for its owner alone to read, when there is no such file.

    Raises InvalidInput: it is no such key, or can't be read or written.
    """
    try:
        data = file.read_bytes() if file.exists() else _made(file)
        key = load_pem_private_key(data, None)
        if isinstance(key, Ed25519PrivateKey):
            _publish(key, public_file(file))
            return key
    except OSError as error:
        raise InvalidInput(f"{file}: the audit key can't be read or written: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{file}: not an Ed25519 key in PEM without a password: {_line(error)}") from error
    raise InvalidInput(f"{file}: the audit key must be an Ed25519 key: `openssl genpkey -algorithm ed25519` makes one")


def public_key(file: Path) -> str:
    """The public key in ``file``, a PEM of either half, in hex. Raises InvalidInput."""
    try:
        data = file.read_bytes()
        key = load_pem_private_key(data, None) if b"PRIVATE" in data else load_pem_public_key(data)
    except OSError as error:
        raise InvalidInput(f"{file}: can't be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{file}: not an Ed25519 key in PEM: {_line(error)}") from error
    if isinstance(key, Ed25519PrivateKey):
        key = key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInput(f"{file}: not an Ed25519 key")
    return key.public_bytes_raw().hex()


def _made(file: Path) -> bytes:
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(beside, file)  # if another node has just made one, its key counts
        except FileExistsError:
            return file.read_bytes()
    finally:
        beside.unlink()
    return data


def _publish(key: Ed25519PrivateKey, file: Path) -> None:
    data = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    if not file.exists():
        file.write_bytes(data)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
