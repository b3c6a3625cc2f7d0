"""What a table is: its columns with their documentation, and the query that makes it."""

from typing import Any, Final, NamedTuple

from callboard.events.envelope import EVENT_TYPES
from callboard.events.upcasters import UPCASTERS

TIME: Final = "TIMESTAMP WITH TIME ZONE"
ORDER: Final = "seq * 32768 + place"
"""An event's place in the log, as one number in SQL."""


class Column(NamedTuple):
    """A column: its name, its type as DuckDB calls it, and what it tells."""

    name: str
    type: str
    told: str


class Table(NamedTuple):
    """A table that can be queried. ``query`` makes it, each ``row`` of it is what that says.

    ``kinds`` are the kinds of entities whose events it is made of; empty for all.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    query: str
    kinds: frozenset[str] = frozenset()


def types_of(*events: type[Any]) -> str:
    """The wire types of events, of each version that can be read today, as a list in SQL.

    A newer version than is known here is not among them: it is kept, and nothing is said of it.
    """
    stems = {event.type.rpartition(".")[0] for event in events}
    known = sorted(name for name in {*EVENT_TYPES, *UPCASTERS} if name.rpartition(".")[0] in stems)
    return ", ".join(f"'{name}'" for name in known)


def data_as(fields: str) -> str:
    """An event's data as a STRUCT of these ``fields``, in SQL; what the event does not have is NULL."""
    return f"""from_json(decode(raw), '{{"data": {{{" ".join(fields.split())}}}}}').data"""
