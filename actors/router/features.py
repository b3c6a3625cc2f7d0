"""What a task looks like to what the router learns: a short vector of whole numbers, recorded with each decision.

The words of the newest message and the task's tags, each hashed to a place with a sign (feature hashing: Weinberger et
al., 2009), the two parts scaled to length one each; and the text's shape, since code, lists and sums look unlike prose.
Cheap, needs no model, and the same on every machine.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from callboard.events.task_spec import FEATURE_SCALE, SHAPE_FEATURES, TaskSpec, newest_text

WORDS: Final = 64
TAGS: Final = 16
SIZE: Final = 1 + WORDS + TAGS + SHAPE_FEATURES
LONGEST: Final = 2000
"""Characters of the text that are looked at."""

USUAL_LENGTH: Final = 5.0
USUAL_WORD: Final = 5.0
"""The natural logarithm of the characters in a text, and the characters in a word, that stand for 0."""

OFTEN: Final = 0.2
LINES: Final = 20
"""The part of a text that a class of characters has, and the lines a text has, that stand for 1."""

_WORD = re.compile(r"\w\w+")


def features(spec: TaskSpec) -> bytes:
    """`SIZE` signed bytes, in hundredths; the first always stands for 1.

    What is in the blob store is not read, and nothing is told of a text about a person: its words could be guessed.
    """
    text = "" if spec.private else (newest_text(spec) or "")[:LONGEST]
    words = _WORD.findall(text.lower())
    looks = bytearray(SIZE)
    looks[0] = FEATURE_SCALE
    _hash(words, WORDS, looks, 1)
    _hash(spec.tags, TAGS, looks, 1 + WORDS)
    if text:
        for place, value in enumerate(_shape(text, words), 1 + WORDS + TAGS):
            looks[place] = round(FEATURE_SCALE * min(max(value, -1.0), 1.0)) & 0xFF
    return bytes(looks)


def _hash(tokens: Sequence[str], size: int, looks: bytearray, start: int) -> None:
    """Write the tokens' vector of ``size`` into ``looks``."""
    if not tokens:
        return
    times, counts = Counter(tokens), [0] * size
    for digest, number in zip(map(crc32, map(str.encode, times)), times.values(), strict=True):
        counts[digest % size] += number if digest & 0x8000_0000 else -number
    length = math.hypot(*counts) or 1.0
    scaled = {count: round(FEATURE_SCALE * count / length) & 0xFF for count in set(counts)}
    looks[start : start + size] = map(scaled.__getitem__, counts)


def _shape(text: str, words: Sequence[str]) -> tuple[float, ...]:
    """Length, digits, capitals, punctuation, length of words, lines: each about -1 to 1."""
    often, raw = OFTEN * len(text), text.encode(errors="ignore")
    return (
        math.log(len(text)) / USUAL_LENGTH - 1,
        _count(raw, string.digits) / often,
        _count(raw, string.ascii_uppercase) / often,
        _count(raw, string.punctuation) / often,
        sum(map(len, words)) / max(len(words), 1) / USUAL_WORD - 1,
        text.count("\n") / LINES,
    )


def _count(raw: bytes, characters: str) -> int:
    """How many of these ASCII characters there are: no other has their bytes in its UTF-8."""
    return len(raw) - len(raw.translate(None, characters.encode()))
