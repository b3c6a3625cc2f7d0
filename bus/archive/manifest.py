"""Manifests: what a segment of the archive holds, beside it, in a file of its own that is written last."""

import re
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from callboard.bus.errors import Damaged

FORMAT: Final = 1
PARQUET: Final = ".parquet"
MANIFEST: Final = ".json"
INDEX: Final = ".index"
PARTIAL: Final = ".partial"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """One segment: the messages with the sequences ``first`` to ``last``, all of them.

    ``rows`` are those of the Parquet file, one for each event or unreadable message; ``events`` are those that could
    be read. ``bytes`` and ``sha256`` (hex) are the Parquet file's. Times are JetStream's, in ns since the epoch.
    """

    format: int
    first: int
    last: int
    messages: int
    events: int
    rows: int
    bytes: int
    sha256: str
    min_time_ns: int
    max_time_ns: int

    @property
    def stem(self) -> str:
        """What the names of the segment's files begin with."""
        return stem_of(self.first, self.last)


def stem_of(first: int, last: int) -> str:
    """What the names of the files of the segment from ``first`` to ``last`` begin with."""
    return f"events-{first:012}-{last:012}"


def dump(manifest: Manifest) -> bytes:
    """The bytes of a manifest; there are no others that say the same."""
    return msgspec.json.encode(manifest)


def read(path: Path) -> Manifest:
    """The manifest at ``path``. Raises Damaged for what is none, or not written as `dump` writes it."""
    try:
        data = path.read_bytes()
        manifest = msgspec.json.decode(data, type=Manifest)
    except OSError as error:
        raise Damaged(f"{path}: can't be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Damaged(f"{path}: no manifest of an archive's segment: {error}") from error
    if manifest.format != FORMAT:
        raise Damaged(f"{path}: is of format {manifest.format}, this version reads {FORMAT}: use a newer callboard")
    if data != dump(manifest) or path.name != manifest.stem + MANIFEST:
        raise Damaged(f"{path}: the manifest was altered: its bytes or its name are not what callboard writes")
    if not _SHA256.fullmatch(manifest.sha256):
        raise Damaged(f"{path}: the manifest was altered: {manifest.sha256!r} is no SHA-256")
    if not 0 < manifest.first <= manifest.last or manifest.messages != manifest.last - manifest.first + 1:
        raise Damaged(f"{path}: the manifest was altered: {manifest.first} to {manifest.last} are not its messages")
    return manifest
