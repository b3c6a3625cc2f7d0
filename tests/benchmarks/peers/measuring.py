"""What all runners share: their arguments, payloads, figures, and the ledger of steps. It needs nothing but Python.

A runner is called as ``python X_runner.py MEASURE --folder DIR [--sync full|relaxed] …`` and prints one JSON object.
"""

import argparse
import base64
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

SMALL = 64
"""Characters that a step returns, or that are handed over, where it is not about storage."""


def payload(number: int, size: int) -> str:
    """Text that no compression makes smaller by more than a quarter, the same for every system."""
    return base64.b64encode(random.Random(number).randbytes(size)).decode()[:size]


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile."""
    took = sorted(seconds)
    return {"p50_ms": round(took[len(took) // 2] * 1e3, 3), "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 3)}


def between(marks: Sequence[float]) -> dict[str, float]:
    """Of steps that each left a mark when it began: how long from one to the next."""
    return milliseconds([later - earlier for earlier, later in itertools.pairwise(marks)])


def there_and_back(left: Sequence[float], arrived: Sequence[float], returned: Sequence[float]) -> dict[str, Any]:
    """Of hand-offs: until the receiver began, and until the sender went on with the answer."""
    there = [end - start for start, end in zip(left, arrived, strict=True)]
    back = [end - start for start, end in zip(left, returned, strict=True)]
    return {"there": milliseconds(there), "there_and_back": milliseconds(back)}


def growth(marks: Sequence[float], folder: Path, size: int) -> dict[str, Any]:
    """Of steps that each gave ``size`` bytes: what a clean end left in ``folder``, and whether they got slower."""
    stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "steps": len(marks),
        "seconds": round(marks[-1] - marks[0], 1),
        "bytes": stored,
        "bytes_a_step": round(stored / len(marks)),
        "stored_to_payload": round(stored / (len(marks) * size), 2),
        "first_100": between(marks[:100]),
        "last_100": between(marks[-100:]),
    }


class Clock:
    """Marks when steps begin; ``over`` once they have taken longer than ``limit_s``."""

    def __init__(self, limit_s: float) -> None:
        self.marks: list[float] = []
        self._limit_s = limit_s

    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    @property
    def over(self) -> bool:
        return bool(self.marks) and time.perf_counter() - self.marks[0] > self._limit_s


class Ledger:
    """A file beside the system's own, with a line for each time that the function of a step ran."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def ran(self, number: int) -> None:
        os.write(self._file, f"{number} {time.monotonic()}\n".encode())


def given() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("measure", choices=("steps", "handoffs", "messages", "storage", "recovery"))
    arguments.add_argument("--folder", type=Path, required=True, help="where it keeps what it stores")
    arguments.add_argument("--sync", choices=("full", "relaxed"), default="full")
    arguments.add_argument("--count", type=int, default=1_000, help="steps, or hand-offs")
    arguments.add_argument("--size", type=int, default=SMALL, help="bytes of each step's result")
    arguments.add_argument("--limit-s", type=float, default=600.0, help="begin no more steps after so long")
    arguments.add_argument("--channel", choices=("list", "delta"), default="list", help="storage: LangGraph's")
    arguments.add_argument("--ledger", type=Path, help="recovery: where steps are written down")
    arguments.add_argument("--url", help="recovery: of a server of its own, that is not killed")
    arguments.add_argument("--again", action="store_true", help="recovery: go on with what was begun before")
    return arguments.parse_args()


def answer(package: str, durability: str, **figures: Any) -> None:
    """Print what was measured."""
    print(json.dumps({"version": version(package), "durability": durability} | figures), flush=True)


def run(measures: dict[str, Callable[[argparse.Namespace], None]]) -> None:
    """Measure what is asked for."""
    asked = given()
    asked.folder.mkdir(parents=True, exist_ok=True)
    measures[asked.measure](asked)
