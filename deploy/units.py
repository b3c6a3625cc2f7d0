"""What a person writes for a duration, a size or a price, turned exactly into whole units."""

import json
import re
from decimal import Decimal

from callboard.events.errors import InvalidInput
from callboard.events.money import MICROS_PER_USD

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ns|us|ms|s|m|h|d)")
_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]i?B|B)", re.IGNORECASE)
_BYTES = {"b": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}

_DEAREST_USD = 1_000_000


def shown(value: object) -> str:
    """``value`` as a settings file would write it, cut to 60 characters, for an error message."""
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def duration_ns(value: object, what: str) -> int:
    """Nanoseconds of ``"250ms"``, ``"30s"``, ``"5m"``, ``"2h"``, ``"30d"`` (also ``us``, ``ns``, parts); more than 0.

    Raises:
        InvalidInput: naming ``what``.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    length = Decimal(match[1]) * _NS[match[2]] if match else Decimal(0)
    if length <= 0 or length % 1:
        raise InvalidInput(f'{what} must be a duration such as "250ms", "30s", "5m" or "2h", got {shown(value)}')
    return int(length)


def size_bytes(value: object, what: str) -> int:
    """Bytes of ``"10GB"`` (decimal), ``"512MiB"`` (binary) or a whole number; more than 0.

    Raises:
        InvalidInput: naming ``what``.
    """
    size = Decimal(0)
    if isinstance(value, int) and not isinstance(value, bool):
        size = Decimal(value)
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = Decimal(match[1]) * _BYTES[match[2].lower()]
    if size <= 0 or size % 1:
        raise InvalidInput(f'{what} must be a size such as "10GB" or "512MiB", got {shown(value)}')
    return int(size)


def usd_micros(value: object, what: str) -> int:
    """Whole micro-dollars of an amount in USD (``int`` or ``Decimal``, never ``float``), 0 or more.

    Raises:
        InvalidInput: naming ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or Decimal(value).is_nan() or value < 0:
        raise InvalidInput(f"{what} must be a number >= 0, got {shown(value)}")
    if value > _DEAREST_USD:
        raise InvalidInput(f"{what} must be at most {_DEAREST_USD} USD, got {shown(value)}")
    micros = Decimal(value) * MICROS_PER_USD
    if micros != micros.to_integral_value():
        raise InvalidInput(f"{what} must have at most 6 decimal places (1 micro-dollar), got {shown(value)}")
    return int(micros)
