"""One JSON object from anybody, read strictly: what is wrong with it is said in one line."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from callboard.events.errors import InvalidInput

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

_UNKNOWN_FIELD = re.compile(r"unknown field `(.+?)`")


def read(data: bytes, shape: type[S], what: str, example: str, inner: Iterable[str] = ()) -> S:
    """The ``what`` in ``data``, such as ``example``; ``inner`` are field names of the structs inside it.

    Raises InvalidInput that says what is wrong, where, and what was probably meant.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        message = str(error)
        if unknown := _UNKNOWN_FIELD.search(message):
            fields = shape.__struct_fields__
            hint = did_you_mean(unknown[1], {*fields, *inner}) or f"; known: {', '.join(fields)}"
            raise InvalidInput(f"unknown field {unknown[1]!r}{hint}") from None
        raise InvalidInput(f"not a {what}: {message}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not JSON: {error}; send one JSON object such as {example}") from None


def checked(value: T, shape: Any, what: str) -> T:
    """``value`` as it is read back from the log, so that nothing is written that can't be read. Raises InvalidInput."""
    try:
        found: T = msgspec.json.decode(msgspec.json.encode(value), type=shape)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} can't be written as JSON ({error}): use text, numbers, lists and maps") from None
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'this'?`` if one of ``known`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, sorted(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
