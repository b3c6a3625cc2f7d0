"""Checkpoints: signed heads of the tree over the log. Pure.

A checkpoint says: the first ``size`` messages of the log have this ``root``. Each names the one before it by the hash
of its bytes, so that none can be taken out of their midst; and each is signed, so that it takes the key to make one.
Whoever holds the key can: so keep copies of heads where its holder can't reach them.
"""

from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from callboard.events.errors import Undecodable
from callboard.events.merkle import Tree

PUBLIC_BYTES: Final = 32


class Checkpoint(Struct, frozen=True, gc=False):
    """A signed tree head; hashes, the ``key`` (an Ed25519 public key) and the ``signature`` are in hex.

    With the ``peaks`` the tree goes on without the messages. ``previous`` is the hash of the checkpoint before it,
    empty for the first.
    """

    size: int
    root: str
    peaks: tuple[str, ...]
    previous: str
    time: datetime
    key: str
    signature: str = ""

    @property
    def tree(self) -> Tree:
        """The tree that it is the head of. Raises ValueError when the peaks are none of such a tree."""
        return Tree(self.size, [bytes.fromhex(peak) for peak in self.peaks])

    @property
    def is_whole(self) -> bool:
        """Whether peaks and root belong together."""
        try:
            return self.tree.root.hex() == self.root
        except ValueError:
            return False

    @property
    def is_signed(self) -> bool:
        """Whether the signature is by the key that it names."""
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            signature = bytes.fromhex(self.signature)
            public.verify(signature, _signed_bytes(self))
        except (ValueError, InvalidSignature):
            return False
        return signature.hex() == self.signature  # not the same in capitals


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Checkpoint, strict=True)


def key_of(private: Ed25519PrivateKey) -> str:
    """The public key of a private one, in hex."""
    return private.public_key().public_bytes_raw().hex()


def sign(tree: Tree, previous: str, time: datetime, private: Ed25519PrivateKey) -> Checkpoint:
    """The checkpoint of a tree, after the one with the hash ``previous``."""
    peaks = tuple(peak.hex() for peak in tree.peaks)
    head = Checkpoint(tree.size, tree.root.hex(), peaks, previous, time, key_of(private))
    return msgspec.structs.replace(head, signature=private.sign(_signed_bytes(head)).hex())


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Its bytes; equal checkpoints have equal ones."""
    return _ENCODER.encode(checkpoint)


def decode_checkpoint(data: bytes) -> Checkpoint:
    """The checkpoint in these bytes. Raises Undecodable, also for bytes that `encode_checkpoint` would not write."""
    try:
        checkpoint = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Undecodable(f"not a checkpoint: {error}; it begins {data[:80]!r}") from error
    if encode_checkpoint(checkpoint) != data:
        raise Undecodable(f"not a checkpoint as it is written; it begins {data[:80]!r}")
    return checkpoint


def checkpoint_hash(data: bytes) -> str:
    """What the next checkpoint names it by."""
    return sha256(data).hexdigest()


def _signed_bytes(checkpoint: Checkpoint) -> bytes:
    return _ENCODER.encode(msgspec.structs.replace(checkpoint, signature=""))
