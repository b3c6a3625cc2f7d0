"""`callboard sql`."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from callboard.deploy.cli.options import Where, as_json, where

if TYPE_CHECKING:
    from pathlib import Path

    from callboard.deploy.sql.database import Result
    from callboard.deploy.sql.sources import Sources

MOST_ROWS: Final = 1000
"""Rows of a table for people; --json and --csv have no end."""


@click.command()
@click.argument("query", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--tables", is_flag=True, help="Print the tables and their columns.")
@where
@as_json
def sql(query: str | None, where: Where, *, as_csv: bool, tables: bool, as_json: bool) -> None:
    """Run a QUERY (- reads standard input) over everything in the log, archived or not, with DuckDB.

    For example: callboard sql "SELECT day, backend, sum(cost) FROM costs GROUP BY ALL ORDER BY day". Nothing can be
    changed, and nothing but the log can be read. Money is in micro-dollars, durations are in ns, times in UTC. Texts
    are as they are stored: what is encrypted stays so.

    --json prints a list of objects, a row each; with --tables [{table, row, columns [{name, type, told}]}].
    """
    if tables:
        _print_tables(as_json=as_json)
        return
    if not query:
        raise click.UsageError('give a QUERY, as "SELECT count(*) FROM events"; --tables tells what there is')
    if as_csv and as_json:
        raise click.UsageError("use --csv or --json, not both")
    _query(sys.stdin.read() if query == "-" else query, where, as_csv=as_csv, as_json=as_json)


def _query(query: str, where: Where, *, as_csv: bool, as_json: bool) -> None:
    """The connection is closed before the query runs, which takes as long as it takes."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from callboard.deploy.cli.session import run
    from callboard.deploy.sql.database import Database, installed

    installed()
    with TemporaryDirectory(prefix="callboard-sql-") as folder:
        sources = run(_gather(query, where, Path(folder)))
        with Database(sources) as database:
            result = database.query(query)
            if as_csv:
                _print_csv(result)
            elif as_json:
                _print_json(result)
            else:
                _print_table(result)


async def _gather(query: str, where: Where, folder: "Path") -> "Sources":
    from callboard.deploy.cli.printing import working
    from callboard.deploy.cli.session import board_at
    from callboard.deploy.sql.sources import gather

    async with board_at(where) as place:
        with working("Reading the log"):
            return await gather(query, place.bus.log, folder)


def _print_json(result: "Result") -> None:
    """One list, a row on each line, so that a long one need not be held in memory."""
    import msgspec

    names = _unlike([name for name, _ in result.columns])
    is_json = [kind == "JSON" for _, kind in result.columns]
    encoder = msgspec.json.Encoder(enc_hook=str)
    click.echo("[", nl=False)
    joint = "\n"
    for row in _rows(result):
        values = (_document(value) if nested else value for value, nested in zip(row, is_json, strict=True))
        click.echo(joint + encoder.encode(dict(zip(names, values, strict=True))).decode(), nl=False)
        joint = ",\n"
    click.echo("\n]" if joint != "\n" else "]")


def _unlike(names: Sequence[str]) -> list[str]:
    """Names of which none is twice: one that comes again is told with the number of its column."""
    return [name if name not in names[:place] else f"{name}_{place + 1}" for place, name in enumerate(names)]


def _document(text: str | None) -> Any:
    import msgspec

    return None if text is None else msgspec.Raw(text.encode())


def _print_csv(result: "Result") -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(name for name, _ in result.columns)
    writer.writerows(map(_text, row) for row in _rows(result))


def _print_table(result: "Result") -> None:
    from itertools import islice

    from callboard.deploy.cli.printing import one_line, print_table, warn

    rows = list(islice(_rows(result), MOST_ROWS + 1))
    if [name for name, _ in result.columns] == ["explain_key", "explain_value"]:
        click.echo("\n".join(str(plan) for _, plan in rows))
        return
    numbers = [name for name, kind in result.columns if kind.endswith(("INT", "DOUBLE", "FLOAT")) or "DECIMAL" in kind]
    shown = ([one_line(_text(value), 200) for value in row] for row in rows[:MOST_ROWS])
    print_table([name for name, _ in result.columns], shown, right=numbers)
    if len(rows) > MOST_ROWS:
        warn(f"only the first {MOST_ROWS:,} rows are shown: --csv and --json print all")


def _rows(result: "Result") -> Iterator[Sequence[Any]]:
    for chunk in result.chunks:
        yield from chunk


def _text(value: Any) -> str:
    """A value as people and CSV have it; NULL is empty."""
    from datetime import datetime

    import msgspec

    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ").replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | dict):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)


def _print_tables(*, as_json: bool) -> None:
    from callboard.deploy.cli.printing import print_json
    from callboard.deploy.sql.tables import TABLES

    if as_json:
        print_json(
            [
                {"table": table.name, "row": table.row, "columns": [column._asdict() for column in table.columns]}
                for table in TABLES.values()
            ]
        )
        return
    for table in TABLES.values():
        click.echo(f"{table.name}: a row is {table.row}")
        wide = max(len(column.name) for column in table.columns)
        for column in table.columns:
            click.echo(f"  {column.name.ljust(wide)}  {_short(column.type).ljust(11)}  {column.told}")
        click.echo()


def _short(kind: str) -> str:
    return kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
