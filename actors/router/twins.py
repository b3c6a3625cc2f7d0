"""The draw: which option gets the task, by the policy's shares and, where several routers decide at a time, by two.

One router's view is exact, so the best option is the best. Several routers that all see the same backend as the least
loaded would all send there what comes before they see each other's choices. So among twins of the winner, options that
differ from it in nothing but how busy they are, two are drawn at random and the better one gets the task (the power of
two choices: Mitzenmacher, 2001). The shorter prompt that a prefix cache leaves is no such difference: it is this task's
own, and another router's task will not rush to it.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from callboard.actors.router.options import Option
from callboard.actors.router.policies.policy import Policy
from callboard.events.backend import Backend
from callboard.events.money import Price
from callboard.events.task_spec import TaskSpec

PPM: Final = 1_000_000
ALIKE: Final = 20_000
"""Qualities in the same step of so many parts per million make no difference."""

Kind: TypeAlias = tuple[str, Price, int, int]


class Crowd(Struct, frozen=True):
    """Among whom is drawn: ``backends``, by ``routers`` at a time, with the shadow price of ``money``."""

    backends: Mapping[str, Backend]
    routers: int = 1
    money: float = 1.0


def draw(spec: TaskSpec, options: Sequence[Option], policy: Policy, crowd: Crowd, seed: int) -> tuple[Option, int]:
    """The option that gets the task, and the probability of that in parts per million (the propensity)."""
    shares = policy.shares(spec, options, crowd.money)
    likely = [(option, share) for option, share in zip(options, shares, strict=True) if share > 0]
    total = sum(share for _, share in likely)
    if len(likely) == 1 and crowd.routers < 2:
        return likely[0][0], PPM
    chance = random.Random(seed)
    winner, share = chance.choices(likely, [share for _, share in likely])[0]
    if crowd.routers < 2:
        return winner, PPM * share // total
    kind = _kind(winner, crowd)
    twins = [option for option in options if _kind(option, crowd) == kind]
    if len(twins) < 3:
        return winner, PPM * share // total
    names = {twin.backend for twin in twins}
    together = sum(share for option, share in likely if option.backend in names)
    pair = chance.sample(twins, 2)
    odds = policy.shares(spec, pair, crowd.money)
    chosen = chance.choices(pair, odds)[0]
    return chosen, _of_two(spec, chosen, twins, policy, crowd.money) * together // total


def _of_two(spec: TaskSpec, chosen: Option, twins: Sequence[Option], policy: Policy, money: float) -> int:
    """How probable it is, in parts per million, that ``chosen`` is drawn and is the better of the two."""
    won = 0
    for other in twins:
        if other.backend != chosen.backend:
            mine, its = policy.shares(spec, (chosen, other), money)
            won += PPM * mine // (mine + its)
    return 2 * won // (len(twins) * (len(twins) - 1))


def _kind(option: Option, crowd: Crowd) -> Kind:
    backend = crowd.backends[option.backend]
    assert backend.spec is not None
    return backend.spec.model, backend.price, option.quality // ALIKE, option.cached
