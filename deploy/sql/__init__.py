"""SQL over the log: archive and live tail as tables, most of them views over `events`.

`table.py` is what a table is; `event_tables.py`, `task_tables.py`, `entity_tables.py` and `span_table.py` have them, and
`tables.py` has them all. `tail.py` brings what is not archived, `database.py` is the only importer of duckdb.
"""
