"""nkeys: the Ed25519 keys that NATS knows its users by, spelled as NATS spells them.

A public key begins with ``U``, a seed with ``SU``; both are base32 with a checksum. The server knows public keys alone:
a user proves to have the seed by signing what the server says at the start of each connection.
"""

from base64 import b32decode, b32encode
from binascii import Error, crc_hqx
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callboard.events.errors import InvalidInput

_SEED: Final = 18 << 3
_USER: Final = 20 << 3
_PREFIX: Final = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
_KEY: Final = 32


def new_seed() -> str:
    """A new user's seed: the secret."""
    return _spelled(_PREFIX + Ed25519PrivateKey.generate().private_bytes_raw())


def public_of(seed: str) -> str:
    """The public key of a seed. Raises InvalidInput, which does not show it."""
    return _spelled(bytes([_USER]) + _private(seed).public_key().public_bytes_raw())


def sign(seed: str, data: bytes) -> bytes:
    """What proves to who knows the public key that ``data`` was seen by who has the seed. Raises InvalidInput."""
    return _private(seed).sign(data)


def _private(seed: str) -> Ed25519PrivateKey:
    try:
        raw = b32decode(seed + "=" * (-len(seed) % 8))
    except (Error, ValueError):
        raw = b""
    body, check = raw[:-2], raw[-2:]
    if len(body) != len(_PREFIX) + _KEY or body[:2] != _PREFIX or check != _checksum(body):
        raise InvalidInput("the seed is not one of a NATS user (SU...), or was cut off")
    return Ed25519PrivateKey.from_private_bytes(body[2:])


def _spelled(body: bytes) -> str:
    return b32encode(body + _checksum(body)).decode().rstrip("=")


def _checksum(body: bytes) -> bytes:
    return crc_hqx(body, 0).to_bytes(2, "little")
