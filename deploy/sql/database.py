"""A database that can read the log and nothing else, and the only importer of duckdb.

It is in memory, and locked as soon as its tables are there: it can't read or write files but those that it was given,
reach the network, load extensions, or see Python's variables; and only a query is run, nothing that changes anything.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Self

import msgspec

from callboard.bus.errors import Damaged, NotInstalled
from callboard.deploy.sql.event_tables import STORED
from callboard.deploy.sql.sources import Sources
from callboard.deploy.sql.span_table import SPANS
from callboard.deploy.sql.tables import TABLES
from callboard.events.errors import CallboardError

MEMORY: Final = "2GB"
"""What a query may take; what is more goes to the disk, into the folder of its sources."""

CHUNK: Final = 1000
_EXPLAIN: Final = re.compile(r"\s*explain\s+(analyze\s+)?(\([^)]*\)\s*)?", re.IGNORECASE)


class InvalidQuery(CallboardError):
    """The SQL can't be run; the message says why, and where in it."""


class Result(NamedTuple):
    """What a query gives: columns as (name, DuckDB's type), and rows in chunks, which are read as they are taken."""

    columns: tuple[tuple[str, str], ...]
    chunks: Iterator[Sequence[tuple[Any, ...]]]


class Database:
    """The tables over ``sources``; use it as a context manager. Raises Damaged and NotInstalled."""

    def __init__(self, sources: Sources) -> None:
        self._duckdb = installed()
        self._connection = self._duckdb.connect(":memory:", config={"memory_limit": MEMORY})
        try:
            self._set_up(sources)
        except self._duckdb.Error as error:
            self.close()
            told = " ".join(str(error).split())
            raise Damaged(f"the archive can't be read ({told}): `callboard archive --verify` says more") from error

    def _set_up(self, sources: Sources) -> None:
        run = self._connection.execute
        run("SET TimeZone = 'UTC'")
        run(f"SET temp_directory = {_text(str(sources.folder / 'overflow'))}")
        if sources.spans:
            columns = ", ".join(f"{column.name}: {_text(_read_as(column.type))}" for column in SPANS.columns)
            run(f"""
                CREATE TABLE folded_spans AS
                SELECT * REPLACE (make_timestamptz(began) AS began, make_timestamptz(ended) AS ended)
                FROM read_json({_text(str(sources.spans))}, format = 'newline_delimited', columns = {{{columns}}})
            """)
        files = ", ".join(_text(str(path)) for path in sources.events)
        run(f"CREATE VIEW {STORED} AS SELECT * FROM read_parquet([{files}])")
        for table in TABLES.values():
            if table is not SPANS or sources.spans:
                run(f"CREATE VIEW {table.name} AS {table.query}")
        for setting in (
            f"allowed_paths = [{files}]",
            "python_enable_replacements = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "allow_community_extensions = false",
            "enable_progress_bar = false",
            "errors_as_json = true",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            run(f"SET {setting}")

    def query(self, sql: str) -> Result:
        """Run one SELECT. Raises InvalidQuery, also while rows are taken."""
        with self._explained(sql):
            if not self._is_query(sql):
                raise InvalidQuery("only a single query can be run here, as SELECT …: nothing can be changed")
            cursor = self._connection.execute(sql)
            columns = tuple((str(name), str(kind)) for name, kind, *_ in cursor.description)
        return Result(columns, self._chunks(sql))

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_query(self, sql: str) -> bool:
        """Whether it is one statement that only reads; what is to be explained must be that too."""
        statements = self._connection.extract_statements(sql)
        kinds = self._duckdb.StatementType
        if [one.type for one in statements] == [kinds.EXPLAIN]:
            statements = self._connection.extract_statements(_EXPLAIN.sub("", sql, count=1))
        return [one.type for one in statements] == [kinds.SELECT]

    def _chunks(self, sql: str) -> Iterator[Sequence[tuple[Any, ...]]]:
        while True:
            with self._explained(sql):
                rows = self._connection.fetchmany(CHUNK)
            if not rows:
                return
            yield rows

    @contextmanager
    def _explained(self, sql: str) -> Iterator[None]:
        try:
            yield
        except self._duckdb.Error as error:
            raise InvalidQuery(_in_words(str(error), sql)) from error
        except RuntimeError as error:
            if "interrupted" not in str(error):
                raise
            raise KeyboardInterrupt from error  # as which it was sent


class _Error(msgspec.Struct):
    exception_message: str
    position: str = ""


def _in_words(told: str, sql: str) -> str:
    """DuckDB's error in one line, with the place in the query if it names one."""
    _, _, document = told.partition(": ")
    try:
        error = msgspec.json.decode(document, type=_Error)
    except msgspec.MsgspecError:
        return " ".join(told.split())
    message = " ".join(error.exception_message.split())
    if not error.position:
        return message
    before = sql.encode()[: int(error.position)].decode(errors="ignore")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{message} (line {line}, column {column})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _read_as(kind: str) -> str:
    return "BIGINT" if kind.startswith("TIMESTAMP") else kind


def installed() -> Any:
    """The module duckdb. Raises NotInstalled."""
    try:
        import duckdb  # noqa: PLC0415  is optional
    except ImportError as error:
        raise NotInstalled(
            "duckdb, which queries the log, is not installed: pip install 'callboard[archive]'"
        ) from error
    return duckdb
