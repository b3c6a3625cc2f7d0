"""What a task looks like to the quality estimates: a short vector of whole numbers, recorded with each decision.

The words of the newest message and the task's tags, each hashed to a place with a sign (feature hashing: Weinberger et
al., 2009), the two parts scaled to length one each. Cheap, needs no model, and the same on every machine.
"""

import math
import re
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from callboard.events.task_spec import FEATURE_SCALE, TaskSpec, newest_text

WORDS: Final = 64
TAGS: Final = 16
SIZE: Final = 1 + WORDS + TAGS
LONGEST: Final = 4000
"""Characters of the text that are looked at."""

_WORD = re.compile(r"\w\w+")


def features(spec: TaskSpec) -> bytes:
    """`SIZE` signed bytes, in hundredths; the first always stands for 1. What is in the blob store is not read."""
    text = newest_text(spec) or ""
    looks = bytearray(SIZE)
    looks[0] = FEATURE_SCALE
    _hash(_WORD.findall(text[:LONGEST].lower()), WORDS, looks, 1)
    _hash(spec.tags, TAGS, looks, 1 + WORDS)
    return bytes(looks)


def _hash(tokens: Sequence[str], size: int, looks: bytearray, start: int) -> None:
    """Write the tokens' vector of ``size`` into ``looks``."""
    counts: dict[int, int] = {}
    for token in tokens:
        digest = crc32(token.encode())
        place = start + digest % size
        counts[place] = counts.get(place, 0) + (1 if digest & 0x8000_0000 else -1)
    length = math.hypot(*counts.values()) or 1.0
    for place, count in counts.items():
        looks[place] = round(FEATURE_SCALE * count / length) & 0xFF
