"""A trace: when tasks came, how long they were, and which beginnings of prompts they shared.

Three forms are told apart by their first line:

- Azure's CSV: ``TIMESTAMP,ContextTokens,GeneratedTokens``.
- Mooncake's JSON lines: ``timestamp`` in ms, ``input_length``, ``output_length``, and ``hash_ids`` of blocks of 512
  tokens, where equal ids mean equal prompts up to the end of the block.
- JSON lines of our own: ``at`` in seconds, ``input`` and ``output`` in tokens, and ``blocks`` like ``hash_ids``.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from callboard.actors.simulation.fleet import NS_PER_S
from callboard.events.errors import InvalidInput
from callboard.events.prefix import BLOCK

AZURE: Final = "TIMESTAMP,ContextTokens,GeneratedTokens"
NS_PER_MS: Final = 1_000_000


class Arrival(NamedTuple):
    """A task that comes ``at`` ns after the first one; ``input`` and ``output`` are tokens."""

    at: int
    input: int
    output: int
    blocks: tuple[int, ...] = ()


class Trace(Struct, frozen=True):
    """Arrivals by time, at least one."""

    name: str
    arrivals: Sequence[Arrival]

    @property
    def span(self) -> int:
        """From the first arrival to where the next round would begin, in ns."""
        last = self.arrivals[-1].at
        return last + max(last // max(len(self.arrivals) - 1, 1), 1)

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return len(self.arrivals) * NS_PER_S / self.span

    @property
    def average(self) -> tuple[float, float]:
        """Tokens in and out of a task."""
        number = len(self.arrivals)
        return sum(a.input for a in self.arrivals) / number, sum(a.output for a in self.arrivals) / number


class _Mooncake(Struct):
    timestamp: int
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]

    def arrival(self) -> Arrival:
        return Arrival(self.timestamp * NS_PER_MS, self.input_length, self.output_length, self.hash_ids)


class _Plain(Struct, forbid_unknown_fields=True):
    at: float
    input: int
    output: int
    blocks: tuple[int, ...] = ()

    def arrival(self) -> Arrival:
        return Arrival(round(self.at * NS_PER_S), self.input, self.output, self.blocks)


_Row: TypeAlias = Callable[[str], Arrival]


def read(path: Path) -> Trace:
    """The trace in a file. Raises InvalidInput naming the file and the line."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            return parse(lines, path.name)
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not a text in UTF-8") from None
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error


def parse(lines: Iterable[str], name: str) -> Trace:
    """The trace in ``lines``, sorted by time, which begins at 0. Raises InvalidInput naming the line."""
    row: _Row | None = None
    found: list[Arrival] = []
    for number, text in enumerate(lines, 1):
        line = text.strip()
        if not line:
            continue
        if row is None:
            row = _form(line, f"{name}:{number}")
            if row is _azure:
                continue
        try:
            arrival = row(line)
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvalidInput(f"{name}:{number}: {error}") from None
        if arrival.input < 1 or arrival.output < 1 or -(-arrival.input // BLOCK) < len(arrival.blocks):
            raise InvalidInput(
                f"{name}:{number}: input and output must be at least 1 token, and blocks of {BLOCK} no more than fit"
                f" the input; got {arrival.input}, {arrival.output} and {len(arrival.blocks)} blocks"
            )
        found.append(arrival)
    if not found:
        raise InvalidInput(f"{name}: holds no tasks")
    found.sort(key=lambda arrival: arrival.at)
    first = found[0].at
    return Trace(name, [arrival._replace(at=arrival.at - first) for arrival in found])


def _form(line: str, place: str) -> _Row:
    """How the lines of a trace that begins with this one are read."""
    if line.replace(" ", "") == AZURE:
        return _azure
    try:
        keys = msgspec.json.decode(line, type=dict[str, object]).keys()
    except msgspec.MsgspecError:
        keys = {}.keys()
    if {"timestamp", "input_length"} <= keys:
        return _mooncake
    if {"at", "input"} <= keys:
        return _plain
    raise InvalidInput(
        f"{place}: no form of trace begins like this: use Azure's CSV ({AZURE}), Mooncake's JSON lines (timestamp,"
        " input_length, output_length, hash_ids), or JSON lines of at, input, output, blocks"
    )


def _azure(line: str) -> Arrival:
    fields = line.split(",")
    if len(fields) != 3:
        raise ValueError(f"expected 3 fields, got {len(fields)}")
    time, _, fraction = fields[0].partition(".")
    seconds = int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp())
    return Arrival(seconds * NS_PER_S + int(fraction[:9].ljust(9, "0")), int(fields[1]), int(fields[2]))


_MOONCAKE: Final = msgspec.json.Decoder(_Mooncake)
_PLAIN: Final = msgspec.json.Decoder(_Plain)


def _mooncake(line: str) -> Arrival:
    return _MOONCAKE.decode(line).arrival()


def _plain(line: str) -> Arrival:
    return _PLAIN.decode(line).arrival()
