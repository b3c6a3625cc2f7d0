"""What an answer can be verified with, by name: its JSON Schema, a Python function, or a model as judge."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from callboard.events.task import PERFECT

CheckFunction: TypeAlias = Callable[[str], float | bool | Awaitable[float | bool]]
"""Takes the answer's text and says how good it is: a score from 0 to 1, or yes or no."""

SCHEMA: Final = "schema"
JUDGE: Final = "judge"
LONGEST_NOTE: Final = 500
TIMEOUT_S: Final = 30.0


class Check(Struct, frozen=True):
    """A way to verify answers. One with a score of ``accept`` (parts per million) or more passes.

    ``function`` is None for the two built-in ones.
    """

    accept: int = 700_000
    function: CheckFunction | None = None


BUILT_IN: Final[Mapping[str, Check]] = {SCHEMA: Check(PERFECT), JUDGE: Check()}


class Finding(NamedTuple):
    """How good an answer was found to be, in parts per million, and why."""

    score: int
    note: str = ""


async def found_by(function: CheckFunction, answer: str, timeout_s: float = TIMEOUT_S) -> Finding:
    """What ``function`` says of the answer; one that raises, or does not end in time, found it worthless.

    A function that is not ``async`` runs in a thread: it may be slow, but one that never ends keeps its thread.
    """
    name = getattr(function, "__qualname__", repr(function))
    try:
        async with asyncio.timeout(timeout_s):
            if inspect.iscoroutinefunction(function):
                said = await function(answer)
            else:
                said = await asyncio.to_thread(function, answer)
    except TimeoutError:
        return Finding(0, f"{name} did not end within {timeout_s:g} s")
    except Exception as error:
        return Finding(0, f"{name} raised {type(error).__name__}: {error}"[:LONGEST_NOTE])
    if not isinstance(said, int | float) or math.isnan(said) or not 0 <= said <= 1:
        return Finding(0, f"{name} gave {said!r}, not a score from 0 to 1"[:LONGEST_NOTE])
    return Finding(round(said * PERFECT), f"{name} says {float(said):.0%}")
