"""The archive as an audit reads it: every segment verified on its own, so that one that is damaged hides no other."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from callboard.bus.archive import manifest, segment
from callboard.bus.archive.manifest import MANIFEST, PARQUET
from callboard.bus.archive.parquet import File
from callboard.bus.archive.rows import NEEDED, records
from callboard.bus.errors import Damaged, NotInstalled
from callboard.bus.log import Record

_FIRST: Final = re.compile(r"events-(\d+)-\d+")


def examined(folder: Path, damaged: Callable[[int, str], None]) -> Iterator[list[Record]]:
    """All messages of the segments that are what was written, in order, in lists that are not empty.

    ``damaged`` is told of each other segment: the first sequence that it should hold, and what is wrong with it.

    Raises NotInstalled.
    """
    for path in sorted(folder.glob(f"events-*{MANIFEST}")):
        named = _FIRST.fullmatch(path.stem)
        first = int(named[1]) if named else 1
        try:
            stated = manifest.read(path)
            segment.verify(folder, stated)
            file = File(folder / f"{stated.stem}{PARQUET}")
        except NotInstalled:
            raise
        except Exception as error:  # whatever the bytes of a damaged file lead to
            damaged(first, _told(path, error))
            continue
        try:
            for group in file.groups:
                yield list(records(file.read(group, NEEDED), file.name))
        except Exception as error:  # since it was verified
            damaged(first, _told(path, error))
        finally:
            file.close()


def _told(path: Path, error: Exception) -> str:
    return str(error) if isinstance(error, Damaged) else f"{path.stem}: can't be read: {error}"
