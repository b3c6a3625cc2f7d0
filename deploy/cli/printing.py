"""What goes to standard output: tables and lines for people, JSON for programs."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
import msgspec
from msgspec import Struct

from callboard.events.money import MICROS_PER_USD


def print_json(value: Any) -> None:
    """One JSON document on one line; every field of every struct, also those with their default."""
    click.echo(msgspec.json.encode(whole(value)))


def whole(value: Any) -> Any:
    """``value`` as dicts and lists, with all fields."""
    if isinstance(value, Struct):
        return {name: whole(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(whole(item) for item in value)
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table as wide as the terminal, or as its content where there is none; ``right`` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 10_000
    from rich.console import Console

    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Tell on a terminal that something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def warn(text: str) -> None:
    """A line on standard error."""
    click.echo(f"callboard: {text}", err=True)


def one_line(text: str, width: int = 80) -> str:
    """Text from others, made harmless: one line, no control characters, cut to ``width``."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def print_text(text: str) -> None:
    """An answer: as it is for a file or a pipe, without control characters for a terminal."""
    click.echo(harmless(text) if sys.stdout.isatty() else text)


def harmless(text: str) -> str:
    """Text that can't move a terminal's cursor."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def usd(micros: int) -> str:
    """Micro-dollars for people: ``$1.20``, ``$0.000123``."""
    dollars, rest = divmod(abs(micros), MICROS_PER_USD)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}${dollars:,}.{decimals}"


def took(ns: int) -> str:
    """Nanoseconds for people: ``3.1 ms``, ``2.40 s``, ``5 min 3 s``; nothing for 0."""
    if ns <= 0:
        return ""
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.{2 if ns < 1_000_000 else 1 if ns < 100_000_000 else 0}f} ms"
    seconds = round(ns / 1e9)
    return f"{ns / 1e9:.2f} s" if ns < 60_000_000_000 else f"{seconds // 60} min {seconds % 60} s"


def clock(time: datetime) -> str:
    """A time in UTC to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ")
