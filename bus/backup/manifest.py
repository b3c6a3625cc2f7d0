"""The manifest of a backup: what is in its folder. It is written last: a folder without one is no backup."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from callboard.bus.backup.transfer import State
from callboard.bus.errors import BusError

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
_READ_AT_ONCE: Final = 1024 * 1024


class BadBackup(BusError):
    """A backup that is not whole, or not what was written; or a folder that none can be written to."""


class Copy(Struct, frozen=True, forbid_unknown_fields=True):
    """A copy of one stream in a file of the folder: how large that is, what the stream held, how it was set up.

    What was taken away while it was copied may be missing in it: of the streams where that matters, nothing was.
    """

    stream: str
    file: str
    size: int
    sha256: str
    config: dict[str, Any]
    state: State


class Queue(Struct, frozen=True, forbid_unknown_fields=True):
    """A durable queue of the event log, with all done up to the sequence ``done``."""

    name: str
    done: int
    config: dict[str, Any]


class Signed(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest checkpoint when it began: the first ``size`` messages of the log have this ``root`` (hex)."""

    size: int
    root: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """One backup. ``purged`` messages of its log are in no stream: they are in the archive, if anywhere."""

    format: int
    callboard: str
    nats_server: str
    began: datetime
    ended: datetime
    purged: int
    checkpoint: Signed | None
    streams: tuple[Copy, ...]
    queues: tuple[Queue, ...]

    def of(self, stream: str) -> Copy | None:
        """The copy of a stream, None if it was left out."""
        return next((each for each in self.streams if each.stream == stream), None)


def read(folder: Path) -> Manifest:
    """The manifest of the backup in ``folder``. Raises BadBackup."""
    file = folder / MANIFEST
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BadBackup(f"{folder} is no whole backup: there is no {MANIFEST} in it, which is written last") from None
    except OSError as error:
        raise BadBackup(f"{file}: can't be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadBackup(f"{file}: not what `callboard backup` wrote: {error}") from None
    if found.format != FORMAT:
        raise BadBackup(f"{file} has format {found.format}, this Callboard reads {FORMAT}: use the one that wrote it")
    return found


def check(folder: Path, copy: Copy) -> None:
    """Raises BadBackup unless the copy's file is what was written."""
    file = folder / copy.file
    if file.parent != folder:
        raise BadBackup(f"{folder / MANIFEST}: {copy.file!r} is no file in this folder")
    try:
        size = file.stat().st_size
        if size != copy.size:
            raise BadBackup(f"{file} has {size:,} bytes, it was written with {copy.size:,}: it is cut off or altered")
        told = sha256()
        for part in parts(file, _READ_AT_ONCE):
            told.update(part)
    except FileNotFoundError:
        raise BadBackup(f"{file} is missing, and the manifest names it") from None
    except OSError as error:
        raise BadBackup(f"{file}: can't be read: {error.strerror}") from None
    if told.hexdigest() != copy.sha256:
        raise BadBackup(f"{file} was altered: its SHA-256 is not that of the manifest")


def parts(file: Path, size: int) -> Iterator[bytes]:
    """The bytes of a file, ``size`` at a time."""
    with file.open("rb") as opened:
        while part := opened.read(size):
            yield part


def prepare(folder: Path) -> None:
    """Make the folder, for its owner's eyes. Raises BadBackup when it can't be, or holds anything."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise BadBackup(f"{folder} is not empty: name a folder that is not there yet")
    except OSError as error:
        raise BadBackup(f"{folder}: can't be written to: {error.strerror}") from None


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: from now on it is a backup."""
    with written(folder / f"{MANIFEST}.part") as add:
        add(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    (folder / f"{MANIFEST}.part").rename(folder / MANIFEST)
    _sync(folder)


@contextmanager
def written(file: Path) -> Iterator[Callable[[bytes], object]]:
    """A file that is filled, for its owner's eyes, and on the disk in the end; what was in it before is gone."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as opened:
        yield opened.write
        opened.flush()
        os.fsync(opened.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
