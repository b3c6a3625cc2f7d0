"""The draw: which option gets the task, by the policy's shares and, where several routers decide at a time, by two.

One router's view is exact, so the best option is the best. Several routers that all see the same backend as the least
loaded would all send there what comes before they see each other's choices. So of the winner's twins, options that
differ from it in nothing but how busy they are, two are drawn at random, and only the faster one stays (the power of
two choices: Mitzenmacher, 2001); then the policy chooses again. The shorter prompt that a prefix cache leaves makes no
twin: it is this task's own, and another router's task will not rush to it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from callboard.actors.router.alike import Kind, kind, latency_of
from callboard.actors.router.options import Option
from callboard.events.backend import Backend
from callboard.projections.bill import PPM

Shares: TypeAlias = Callable[[Sequence[Option]], Sequence[int]]


class Crowd(Struct, frozen=True):
    """Among whom is drawn: ``backends``, by ``routers`` at a time."""

    backends: Mapping[str, Backend]
    routers: int = 1


ALONE: Final = Crowd({})
"""Nobody else decides at the time."""


def draw(options: Sequence[Option], shares: Shares, seed: int, crowd: Crowd = ALONE) -> tuple[Option, int]:
    """The option that gets the task, and the probability of that in parts per million (the propensity)."""
    first = shares(options)
    if crowd.routers < 2 and sum(share > 0 for share in first) == 1:
        return next(option for option, share in zip(options, first, strict=True) if share > 0), PPM
    chance = random.Random(seed)
    winner = chance.choices(options, first)[0]
    if crowd.routers < 2:
        return winner, PPM * first[options.index(winner)] // sum(first)
    kinds, weights = _kinds(options, first, crowd)
    twins = kinds[kind(winner, crowd.backends[winner.backend])]
    if len(twins) > 2:
        rest = _without(options, twins, min(chance.sample(twins, 2), key=latency_of))
        winner = chance.choices(rest, shares(rest))[0]
    probability = 0.0
    for one, members in kinds.items():
        if weights[one] and len(members) > 2:
            only = (winner,) if winner in members else members  # a twin is there only if it is the one that stays
            probability += weights[one] / sum(first) * _after_two(options, members, only, shares)[winner.backend]
        elif winner in members:
            probability += first[options.index(winner)] / sum(first)
    return winner, round(PPM * probability)


def chances(options: Sequence[Option], shares: Shares, crowd: Crowd = ALONE) -> dict[str, int]:
    """How probable each backend is to get the task, in parts per million: what `draw` records, of all of them."""
    first = shares(options)
    if crowd.routers < 2:
        return {option.backend: PPM * share // sum(first) for option, share in zip(options, first, strict=True)}
    kinds, weights = _kinds(options, first, crowd)
    found = dict.fromkeys((option.backend for option in options), 0.0)
    for one, members in kinds.items():
        if weights[one] and len(members) > 2:
            for name, part in _after_two(options, members, members, shares).items():
                found[name] += weights[one] / sum(first) * part
        else:
            for option in members:
                found[option.backend] += first[options.index(option)] / sum(first)
    return {name: round(PPM * probability) for name, probability in found.items()}


def _kinds(
    options: Sequence[Option], first: Sequence[int], crowd: Crowd
) -> tuple[dict[Kind, list[Option]], dict[Kind, int]]:
    """The options by what twins have in common, and the share of each kind."""
    kinds: dict[Kind, list[Option]] = {}
    weights: dict[Kind, int] = {}
    for option, share in zip(options, first, strict=True):
        one = kind(option, crowd.backends[option.backend])
        kinds.setdefault(one, []).append(option)
        weights[one] = weights.get(one, 0) + share
    return kinds, weights


def _after_two(
    options: Sequence[Option], twins: Sequence[Option], staying: Sequence[Option], shares: Shares
) -> dict[str, float]:
    """How probable each option is when the faster of two of the twins stays, and the policy chooses again.

    Only as far as one of ``staying`` is the one that stays.
    """
    found = dict.fromkeys((option.backend for option in options), 0.0)
    for twin in staying:
        slower = sum(other.latency > twin.latency for other in twins)
        equal = sum(other.latency == twin.latency for other in twins) - 1
        if stays := (2 * slower + equal) / (len(twins) * (len(twins) - 1)):
            rest = _without(options, twins, twin)
            again = shares(rest)
            for option, share in zip(rest, again, strict=True):
                found[option.backend] += stays * share / sum(again)
    return found


def _without(options: Sequence[Option], twins: Sequence[Option], stays: Option) -> list[Option]:
    """The options, and of the twins only the one that stays."""
    gone = {twin.backend for twin in twins if twin.backend != stays.backend}
    return [option for option in options if option.backend not in gone]
