"""The archive: closed stretches of the log as Parquet files, which any tool can read.

`segment.py` writes one, `folder.py` reads them all, `archived_log.py` puts them under a hot log.
"""
