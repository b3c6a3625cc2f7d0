"""Old versions of events, lifted to today's, one version at a time.

An upcaster takes the ``data`` of an old type and gives the next type with its data. It is pure, and stays for ever:
the log is not rewritten. To change an event: add the new class with the next version in its ``type``, put the old type
here, and keep bytes of the old one under ``tests/unit/events/golden``.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from callboard.events.money import MICROS_PER_USD

Upcaster: TypeAlias = Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]


def _priced_v0(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Prices were dollars per thousand tokens, as decimal strings; they are micro-dollars per million now."""
    price = {name: int(Decimal(usd) * MICROS_PER_USD * 1000) for name, usd in data["usd_per_thousand"].items()}
    return "callboard.backend.priced.v1", {"price": price}


def _of_rows(event_type: str) -> Upcaster:
    """Each candidate of a decision was an object; they are columns now."""

    def lifted(data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        decision = data["decision"]
        rows = decision.get("candidates", [])
        able = [row for row in rows if row.get("excluded") is None]
        columns = {
            "backends": [row["backend"] for row in able],
            "costs": [row.get("cost", 0) for row in able],
            "latencies": [row.get("latency", 0) for row in able],
            "qualities": [row.get("quality", 0) for row in able],
            "cached": [row.get("cached", 0) for row in able] if any(row.get("cached") for row in able) else [],
            "excluded": {row["backend"]: row["excluded"] for row in rows if row.get("excluded") is not None},
        }
        return event_type, {**data, "decision": {**decision, "candidates": columns}}

    return lifted


UPCASTERS: Final[dict[str, Upcaster]] = {
    "callboard.backend.priced.v0": _priced_v0,
    "callboard.task.assigned.v1": _of_rows("callboard.task.assigned.v2"),
    "callboard.task.hedged.v1": _of_rows("callboard.task.hedged.v2"),
}


def lift(event_type: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Today's type and data of an event of any age."""
    while upcaster := UPCASTERS.get(event_type):
        event_type, data = upcaster(data)
    return event_type, data
