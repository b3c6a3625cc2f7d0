"""Encryption of what is about persons, and the only importer of it. Pure, but for the dice of a new key.

A sealed value is a header and AES-256-GCM's ciphertext with its tag. The header is the format (1), the generation of
the person's key in four bytes, and the nonce. The nonce is an HMAC of the value and its place under a key of its own:
so sealing the same again gives the same bytes, as a retry has to, and no other value ever gets that nonce. What is
authenticated with it is the person and the place, so that no sealed value counts anywhere else.
"""

import os
from hmac import digest
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY: Final = 32
"""Bytes of a key, a person's as well as the master key."""

_FORMAT: Final = b"\x01"
_NONCE: Final = 12
_HEADER: Final = 1 + 4 + _NONCE
_NAME: Final = 8

LOST: Final = _FORMAT + bytes(_HEADER - 1)
"""What stands for a value that was sealed under no key, since there was none any more."""


class Damaged(ValueError):
    """It was not sealed under this key, for this place, or it was altered since."""


def new_key() -> bytes:
    """A key, from the system's dice."""
    return os.urandom(KEY)


def generation_of(sealed: bytes) -> int:
    """The generation of the key that a value is sealed under, 0 if it is `LOST`. Raises Damaged."""
    if len(sealed) < _HEADER or sealed[:1] != _FORMAT:
        raise Damaged("it is no sealed value that this version knows")
    return int.from_bytes(sealed[1:5], "big")


def name_of(master: bytes) -> bytes:
    """What tells a master key from others, and nothing of it."""
    return _derived(master, b"callboard name", _NAME)


def wrap(master: bytes, person: str, key: bytes) -> bytes:
    """A person's key, encrypted under the master key."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(_derived(master, b"callboard wrap")).encrypt(nonce, key, person.encode())


def unwrap(master: bytes, person: str, wrapped: bytes) -> bytes:
    """The key that was wrapped. Raises Damaged."""
    cipher = AESGCM(_derived(master, b"callboard wrap"))
    return _decrypted(cipher, wrapped[:_NONCE], wrapped[_NONCE:], person.encode())


class Cipher:
    """Seals and opens values of one person under one key."""

    def __init__(self, person: str, generation: int, key: bytes) -> None:
        self.generation = generation
        self._person = person.encode()
        self._nonces = _derived(key, b"callboard nonce")
        self._cipher = AESGCM(_derived(key, b"callboard seal"))

    def seal(self, place: str, value: bytes) -> bytes:
        """The value, sealed for one place: for example an event of an entity."""
        head, about = _FORMAT + self.generation.to_bytes(4, "big"), self._about(place)
        nonce = digest(self._nonces, len(about).to_bytes(4, "big") + about + value, "sha256")[:_NONCE]
        return head + nonce + self._cipher.encrypt(nonce, value, head + about)

    def open(self, place: str, sealed: bytes) -> bytes:
        """The value that was sealed for this place. Raises Damaged."""
        if generation_of(sealed) != self.generation:
            raise Damaged(f"it is sealed under key {generation_of(sealed)}, not {self.generation}")
        return _decrypted(self._cipher, sealed[5:_HEADER], sealed[_HEADER:], sealed[:5] + self._about(place))

    def _about(self, place: str) -> bytes:
        return self._person + b"\x00" + place.encode()


def _derived(key: bytes, purpose: bytes, length: int = KEY) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose).derive(key)


def _decrypted(cipher: AESGCM, nonce: bytes, data: bytes, about: bytes) -> bytes:
    try:
        return cipher.decrypt(nonce, data, about)
    except (InvalidTag, ValueError):
        raise Damaged("it was sealed for somewhere else, under another key, or was altered") from None
