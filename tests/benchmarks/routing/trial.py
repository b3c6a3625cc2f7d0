"""One run: a budget, a seed, and a router that has learned; what is done to it then is a scenario's matter."""

import copy
import random
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from offers import Offer
from stream import Prompt
from world import World


class Setting(NamedTuple):
    """What every run starts from: prompts to learn on, prompts to be measured on, the models, the cheapest first."""

    learn: Sequence[Prompt]
    measure: Sequence[Prompt]
    offers: dict[str, Offer]


class Trial:
    """A setting at a ``pace`` (billionths of a dollar a request), in the order that ``seed`` gives the prompts."""

    def __init__(self, setting: Setting, pace: int, seed: int) -> None:
        self.pace = pace
        self.seed = seed
        self.offers = setting.offers
        order = random.Random(seed)
        self.learn, self.measure = list(setting.learn), list(setting.measure)
        order.shuffle(self.learn)
        order.shuffle(self.measure)
        self._learned: dict[str | None, World] = {}

    def world(self, *, without: str | None = None) -> World:
        """A world of its own that has learned; ``without`` is a model that was not there."""
        if without not in self._learned:
            world = World(self.pace, self.seed)
            for name, offer in self.offers.items():
                if name != without:
                    world.offer(name, *offer)
            for prompt in self.learn:
                world.step(prompt)
            self._learned[without] = world
        return copy.copy(self._learned[without])

    @cached_property
    def phases(self) -> tuple[list[Prompt], list[Prompt], list[Prompt]]:
        """A third of the prompts measured, another third, and the first again in another order."""
        length = len(self.measure) // 3
        first, second = self.measure[:length], self.measure[length : 2 * length]
        again = list(first)
        random.Random(self.seed + 1).shuffle(again)
        return first, second, again
