"""How a backend is scaled by its load: within which bounds, and what a decision saw. Values alone; actors decide."""

from datetime import datetime

from msgspec import Struct


class Scaling(Struct, frozen=True, gc=False):
    """Between ``min`` and ``max`` replicas; times in ns. It is written whole: decisions are made again on it.

    There are more when work would wait for longer than ``target_wait``, or when a first token takes longer than
    ``target_first_token`` (0: whatever it takes), but not within ``cool_up`` of the last time. There are fewer when
    fewer would have done for as long as ``cool_down``, and not within that time of any change. With a ``min`` of 0
    there are none when there was no work for as long as ``idle``.
    """

    min: int = 1
    max: int = 4
    target_wait: int = 5_000_000_000
    target_first_token: int = 0
    cool_up: int = 5_000_000_000
    cool_down: int = 60_000_000_000
    idle: int = 300_000_000_000


class Demand(Struct, frozen=True, gc=False, omit_defaults=True):
    """What was seen ``at`` a time, in the log up to ``seen``; times in ns.

    ``running`` calls were under way, and ``queued`` ones waited: ``tokens`` predicted, ``work`` to do. A first token
    took ``first_token`` and a start from 0 replicas ``start``, on average. ``limit`` is how many calls at a time the
    endpoint's limits can keep busy, 0 for any number. ``peak`` is the most calls at a time that were needed lately, as
    far back as ``watched``; ``idle`` is how long there was no work.
    """

    at: datetime
    seen: int
    running: int = 0
    queued: int = 0
    tokens: int = 0
    work: int = 0
    first_token: int = 0
    start: int = 0
    limit: int = 0
    peak: int = 0
    watched: int = 0
    idle: int = 0
