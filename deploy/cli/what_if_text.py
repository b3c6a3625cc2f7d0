"""What a what-if asks, read from the command line: ``KEY=VALUE,…``."""

import tomllib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from callboard.actors.strict_json import did_you_mean
from callboard.deploy.units import usd_micros
from callboard.events.errors import InvalidInput
from callboard.events.money import Price

if TYPE_CHECKING:
    from callboard.actors.replay.changes import Changes

KEYS: Final = {
    "policy": "policy=cheapest",
    "prices": "prices=NAME=0.25/2.00 (USD per million tokens in/out[/cached]) or prices=FILE.toml",
    "budget": "budget=NAME:0.50 (USD)",
    "pace": "pace=0.002 (USD a task)",
    "without": "without=NAME",
}
"""What can be changed, with an example of each."""

_RATES: Final = ("input", "output", "cached")


def changes(given: str) -> "Changes":
    """All that is asked for together: one change, or several joined by commas.

    Raises InvalidInput that says what is wrong, and what was probably meant.
    """
    from callboard.actors.replay.changes import Changes

    found: dict[str, Any] = {"prices": {}, "budgets": {}, "without": set()}
    for key, value in _pairs(given):
        match key:
            case "policy":
                _once(found, "policy", value)
            case "pace":
                _once(found, "pace", _micros(value, "pace"))
            case "without":
                found["without"].add(value)
            case "prices":
                found["prices"] |= _prices(value)
            case _:
                name, colon, limit = value.rpartition(":")
                if not colon or not name:
                    raise InvalidInput(f"--what-if budget={value}: write NAME:LIMIT, as in {KEYS['budget']}")
                found["budgets"][name] = _micros(limit, f"budget={name}")
    return Changes(**found | {"without": frozenset(found["without"])})


def _pairs(given: str) -> Iterator[tuple[str, str]]:
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts:
        raise InvalidInput(f"--what-if: nothing is changed; use {'; '.join(KEYS.values())}")
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in KEYS:
            raise InvalidInput(
                f"--what-if: unknown {key!r}{did_you_mean(key, KEYS)}; known: {', '.join(KEYS)}, or agents"
            )
        if not equals or not value:
            raise InvalidInput(f"--what-if {part}: a value is missing, as in {KEYS[key]}")
        yield key, value


def _once(found: dict[str, Any], key: str, value: object) -> None:
    if key in found:
        raise InvalidInput(f"--what-if {key}=: there can be only one")
    found[key] = value


def _prices(value: str) -> dict[str, Price]:
    name, equals, rates = value.rpartition("=")
    if equals:
        parts = rates.split("/")
        if not name or len(parts) not in (2, 3):
            raise InvalidInput(f"--what-if prices={value}: write NAME=IN/OUT or NAME=IN/OUT/CACHED, in USD per million")
        amounts = [_micros(part, f"prices={name}") for part in parts]
        return {name: Price(amounts[0], amounts[1], amounts[2] if len(amounts) > 2 else None)}
    return _price_file(Path(value))


def _price_file(path: Path) -> dict[str, Price]:
    """A TOML file (JSON, if its name ends so) with a table for each backend: ``[NAME]``, ``input``, ``output``."""
    import json

    try:
        text = path.read_text(encoding="utf-8")
        read: Any = (
            json.loads(text, parse_float=Decimal)
            if path.suffix == ".json"
            else tomllib.loads(text, parse_float=Decimal)
        )
    except OSError as error:
        raise InvalidInput(
            f"--what-if prices={path}: no such file, nor a price ({error.strerror}); {KEYS['prices']}"
        ) from error
    except ValueError as error:
        raise InvalidInput(f"--what-if prices={path}: can't be read: {error}") from error
    found = {}
    for name, table in read.items() if isinstance(read, dict) else ():
        if not isinstance(table, dict) or not {"input", "output"} <= table.keys() <= {*_RATES}:
            raise InvalidInput(f"--what-if prices={path}: [{name}] needs input and output, and may have cached")
        rates = {key: usd_micros(rate, f"--what-if prices={path}: {name}.{key}") for key, rate in table.items()}
        found[name] = Price(rates["input"], rates["output"], rates.get("cached"))
    if not found:
        raise InvalidInput(f"--what-if prices={path}: no backend is in it; write a table [NAME] for each")
    return found


def _micros(value: str, what: str) -> int:
    try:
        return usd_micros(Decimal(value.lower().removesuffix("usd").removeprefix("$")), f"--what-if {what}")
    except InvalidOperation:
        raise InvalidInput(f"--what-if {what}: {value!r} is not an amount in USD such as 0.05") from None
