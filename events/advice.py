"""What a router was told when it asked for advice."""

from typing import ClassVar

from msgspec import Struct


class Advised(Struct, frozen=True, gc=False, omit_defaults=True):
    """Task ``by`` says which backend to choose, and why; None when there was no advice to be had, and why not."""

    type: ClassVar[str] = "callboard.task.advised.v1"
    by: str
    reason: str
    backend: str | None = None
