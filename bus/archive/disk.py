"""What makes a file of the archive last: it is whole and on the disk before it has its name."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from callboard.bus.archive.manifest import INDEX, MANIFEST, PARQUET, PARTIAL

_LOCK: Final = "archive.lock"
_BLOCK: Final = 1024 * 1024


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if it is missing, and keep other writers out of it for as long as this lasts; waits for them."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def sweep(folder: Path) -> None:
    """Remove what a writer left behind that was killed; only for who has the lock."""
    for path in folder.iterdir():
        unfinished = path.suffix in (PARQUET, INDEX) and not path.with_suffix(MANIFEST).exists()
        if path.suffix == PARTIAL or (unfinished and path.name.startswith("events-")):
            path.unlink()


def finish(partial: Path, path: Path) -> None:
    """Give a file that is written its name, durably."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Return when what was written to the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
