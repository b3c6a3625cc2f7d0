"""The simulated backends: how many, how fast, how much their prefix caches hold, and when they are in trouble."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from callboard.events.backend import BackendSpec
from callboard.events.errors import CallboardError, InvalidInput
from callboard.events.ids import checked_id
from callboard.events.money import MICROS_PER_USD, Price
from callboard.events.scaling import Scaling

NS_PER_S: Final = 1_000_000_000
CONTEXT: Final = 1_000_000


class Dollars(Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None

    @property
    def price(self) -> Price:
        """In micro-dollars."""
        cached = None if self.cached is None else round(self.cached * MICROS_PER_USD)
        return Price(round(self.input * MICROS_PER_USD), round(self.output * MICROS_PER_USD), cached)


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """Trouble from ``from_s`` to ``to_s`` seconds after the start: calls fail, or take ``slower`` times as long."""

    from_s: float
    to_s: float
    slower: float = 1.0
    fails: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.from_s < self.to_s or self.slower < 1:
            raise ValueError("a window needs 0 <= from_s < to_s, and slower of at least 1")


class Scales(Struct, frozen=True, forbid_unknown_fields=True):
    """From how many replicas to how many, and when: as in the settings of a backend, in seconds."""

    min: int = 1
    max: int = 4
    target_wait_s: float = 5.0
    target_first_token_s: float = 0.0
    cool_up_s: float = 5.0
    cool_down_s: float = 60.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max or min(self.target_wait_s, self.cool_up_s, self.cool_down_s, self.idle_s) <= 0:
            raise ValueError("scaling needs 0 <= min <= max, and times over 0")

    @property
    def rules(self) -> Scaling:
        """In ns."""
        times = (self.target_wait_s, self.target_first_token_s, self.cool_up_s, self.cool_down_s, self.idle_s)
        return Scaling(self.min, self.max, *(round(time * NS_PER_S) for time in times))


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of backend, of which there are ``count``.

    A call takes a slot, of which each of the ``replicas`` has ``concurrency``. It reads what the prefix cache does not
    hold at ``prefill_tokens_per_s``, then writes at ``decode_tokens_per_s``, or, when all slots are busy, ``slowdown``
    times as slowly, and in proportion between. The cache holds ``cache_tokens``; whether answers say how much of it
    they used is ``reports_cached``. With ``scaling`` the replicas follow the load, and a new one takes ``start_s``.
    """

    model: str = "simulated"
    count: int = 1
    replicas: int = 1
    concurrency: int = 16
    prefill_tokens_per_s: float = 10_000.0
    decode_tokens_per_s: float = 50.0
    slowdown: float = 2.0
    cache_tokens: int = 1_000_000
    reports_cached: bool = True
    price: Dollars = Dollars(0.2, 0.6)
    windows: tuple[Window, ...] = ()
    scaling: Scales | None = None
    start_s: float = 0.0

    def __post_init__(self) -> None:
        least = min(self.count, self.replicas, self.concurrency)
        if least < 1 or min(self.prefill_tokens_per_s, self.decode_tokens_per_s) <= 0:
            raise ValueError("count, replicas and concurrency must be at least 1, and the rates over 0")
        if self.slowdown < 1 or self.cache_tokens < 0:
            raise ValueError("slowdown must be at least 1, and cache_tokens at least 0")

    @property
    def lanes(self) -> int:
        """Calls at a time."""
        return self.replicas * self.concurrency

    @property
    def spec(self) -> BackendSpec:
        """How it is registered."""
        rules = self.scaling.rules if self.scaling else None
        return BackendSpec("openai", self.model, context=CONTEXT, concurrency=self.concurrency, scaling=rules)

    def service(self, unread: int, output: int, busy: int, lanes: int | None = None) -> tuple[int, int]:
        """Time in ns to the first token and in all, when ``busy`` of ``lanes``, this one included, are taken.

        Without a number of lanes there are those of all its ``replicas``.
        """
        first = round(unread / self.prefill_tokens_per_s * NS_PER_S)
        part = min((busy - 1) / max((lanes or self.lanes) - 1, 1), 1.0)
        each = NS_PER_S / self.decode_tokens_per_s * (1 + (self.slowdown - 1) * part)
        return first + round(each), first + round(each * output)


Fleet = Mapping[str, Machine]


class _File(Struct, forbid_unknown_fields=True):
    backends: dict[str, Any]


def alike(number: int) -> dict[str, Machine]:
    """So many backends that differ in nothing."""
    return _counted("backend", Machine(count=number))


def read_fleet(path: Path) -> dict[str, Machine]:
    """The backends described in a TOML or JSON file: a table each under ``backends``. Raises InvalidInput."""
    try:
        data = path.read_bytes()
        given: Any = msgspec.json.decode(data) if path.suffix == ".json" else tomllib.loads(data.decode())
        tables = msgspec.convert(given, _File).backends
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    found: dict[str, Machine] = {}
    for name, table in tables.items():
        try:
            found |= _counted(checked_id(name, "backend"), msgspec.convert(table, Machine))
        except (msgspec.MsgspecError, CallboardError) as error:
            raise InvalidInput(f"{path}: backends.{name}: {error}") from None
    if not found:
        raise InvalidInput(f"{path}: describes no backends: write a table [backends.NAME] for each kind")
    return found


def rate_at(fleet: Fleet, load: float, tokens_in: float, tokens_out: float) -> float:
    """Tasks a second of this average length that keep the share ``load`` of all slots busy, if no cache helps."""
    total = 0.0
    for machine in fleet.values():
        busy = machine.lanes * load
        total += busy / (machine.service(round(tokens_in), round(tokens_out), max(round(busy), 1))[1] / NS_PER_S)
    return total


def _counted(name: str, machine: Machine) -> dict[str, Machine]:
    if machine.count == 1:
        return {name: machine}
    width = len(str(machine.count - 1))
    return {f"{name}-{number:0{width}}": machine for number in range(machine.count)}
