"""All tables, in the order in which they are told of."""

import re
from typing import Final

from callboard.deploy.sql.call_tables import CALLS, COSTS, EVALUATIONS
from callboard.deploy.sql.decision_tables import ASSIGNMENTS, CANDIDATES
from callboard.deploy.sql.entity_tables import AGENTS, BUDGETS
from callboard.deploy.sql.event_tables import EVENTS
from callboard.deploy.sql.span_table import SPANS
from callboard.deploy.sql.table import Table
from callboard.deploy.sql.task_tables import TASKS

TABLES: Final[dict[str, Table]] = {
    table.name: table
    for table in (EVENTS, TASKS, ASSIGNMENTS, CANDIDATES, CALLS, COSTS, EVALUATIONS, SPANS, AGENTS, BUDGETS)
}


def named(query: str) -> list[Table]:
    """The tables whose names occur in a query, whether as a table or not."""
    words = set(re.findall(r"\w+", query.lower()))
    return [table for name, table in TABLES.items() if name in words]


def subjects(query: str) -> tuple[str, ...]:
    """The subjects of all messages that the tables of a query are made of."""
    tables = named(query)
    if not tables or not all(table.kinds for table in tables):
        return ("evt.>",)
    return tuple(f"evt.*.{kind}.>" for kind in sorted({kind for table in tables for kind in table.kinds}))
