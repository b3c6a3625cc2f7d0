"""Which events are meant: by place in the log, kind, entity and type."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from callboard.bus.log import Log, Record
from callboard.bus.subjects import entity
from callboard.events.errors import InvalidInput
from callboard.events.ids import checked_id

NONE: frozenset[str] = frozenset()


class Selection(NamedTuple):
    """What is meant: events with a sequence over ``after`` and up to ``until``, unless one of the sets leaves them out.

    An empty set leaves out nothing. ``entities`` are ``kind/id``, or an id alone, of whatever kind; ``types`` are wire
    types as ``callboard.task.completed.v1``, or short ones as ``completed``.
    """

    after: int = 0
    until: int | None = None
    kinds: frozenset[str] = NONE
    entities: frozenset[str] = NONE
    types: frozenset[str] = NONE

    def subjects(self) -> tuple[str, ...]:
        """Patterns for the subjects of all messages that may hold such events; no subject matches two of them.

        Raises InvalidInput for names that can't be, and where nothing could match.
        """
        for kind in self.kinds:
            checked_id(kind, "kind")
        if not self.entities:
            return tuple(f"evt.*.{kind}.>" for kind in sorted(self.kinds) or ["*"])
        found: set[str] = set()
        for name in self.entities:
            kind, _, entity_id = name.rpartition("/")
            checked_id(entity_id, "entity")
            if kind and self.kinds and kind not in self.kinds:
                raise InvalidInput(f"{name} is of none of the kinds {', '.join(sorted(self.kinds))}: nothing is meant")
            if kind and entity_id not in self.entities:
                found.add(f"{entity(checked_id(kind, 'kind'), entity_id)}.>")
            elif not kind:
                found |= {f"evt.*.{each}.{entity_id}.>" for each in sorted(self.kinds) or ["*"]}
        return tuple(sorted(found))

    def has(self, kind: str, entity_id: str, event_type: str) -> bool:
        """Whether such an event is meant, if its sequence is."""
        if self.kinds and kind not in self.kinds:
            return False
        if self.entities and not self.entities & {entity_id, f"{kind}/{entity_id}"}:
            return False
        return not self.types or not self.types.isdisjoint((event_type, *event_type.split(".")[2:3]))


async def stored(log: Log, subjects: tuple[str, ...], after: int, until: int | None) -> AsyncIterator[list[Record]]:
    """The messages on ``subjects`` with a sequence over ``after``, up to ``until`` or to the end of the log by now."""
    if until is None:
        until = await log.end()
    async for batch in log.read_all(*subjects, after=after):
        if batch[-1].seq <= until:
            yield batch
            continue
        if wanted := [record for record in batch if record.seq <= until]:
            yield wanted
        return
