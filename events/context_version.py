"""How a context is named where it is read: as it is now, or as it was at a version."""

import re
from typing import NamedTuple

from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

_VERSION = re.compile(r"[0-9]{1,15}")


class ContextVersion(NamedTuple):
    """The context ``id`` at the version ``at``, or as it is now; written as ``plan@17``, or ``plan``."""

    id: str
    at: int | None = None

    def __str__(self) -> str:
        return self.id if self.at is None else f"{self.id}@{self.at}"


def context_version(text: str) -> ContextVersion:
    """The context that ``plan`` or ``plan@17`` names. Raises InvalidInput for what names none."""
    name, at, version = text.partition("@")
    checked_id(name, "context")
    if at and not _VERSION.fullmatch(version):
        raise InvalidInput(f"context {text[:80]!r}: after the @ comes a version, as in {name}@3")
    return ContextVersion(name, int(version) if at else None)
