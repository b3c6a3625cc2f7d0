"""SQL over the log: archive and live tail as tables, most of them views over `events`.

`table.py` is what a table is, `tables.py` has them all. `sources.py` brings what is not archived, and spans if they are
asked for; `database.py` is the only importer of duckdb.
"""
